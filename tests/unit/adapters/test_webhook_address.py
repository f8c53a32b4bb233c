import pytest

from pipeline.adapters.webhook_address import check_url
from pipeline.errors import ConfigurationError


@pytest.mark.parametrize(
    "url", ["https://example.org/x", "http://127.0.0.1:8000/", "http://localhost/x", "http://[::1]:80/", "http://127.9.9.9/"]
)
def test_https_and_this_machine_are_allowed(url: str) -> None:
    check_url(url, allow_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://10.0.0.1/",
        "http://127.0.0.1.example.org/",
        "ftp://example.org/",
        "example.org",
        "https://u:p@example.org/",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="notify endpoint"):
        check_url(url, allow_http=False)


def test_plain_http_can_be_allowed() -> None:
    check_url("http://10.0.0.1/", allow_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://h:99999/s3cret",
        "https://h:abc/s3cret",
        "https://h:0/s3cret",
        "https://ho st/s3cret",
        "https://h/s3cret\n",
        "https://h/\x7fs3cret",
        "https://h\\@example.org/s3cret",
        "https://[bad/s3cret",
        "https:///s3cret",
        "https://１６９。254.169.254/s3cret",
        "https://" + "a" * 70 + ".com/s3cret",
        "http://example.org/s3cret",
        "ftp://example.org/s3cret",
        "https://169.254.169.254/s3cret",
        "https://u:s3cret@example.org/",
    ],
)
def test_what_cannot_be_reached_is_refused_at_once_and_what_may_be_a_token_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="notify endpoint") as caught:
        check_url(url, allow_http=False)
    assert "s3cret" not in str(caught.value)
    assert "; " in str(caught.value), "what is wrong, then how to mend it"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "169.254.43518",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "[::ffff:100.100.100.200]",
    ],
)
@pytest.mark.parametrize("allow_http", [False, True])
def test_link_local_and_metadata_addresses_are_refused_however_they_are_written(host: str, allow_http: bool) -> None:
    with pytest.raises(ConfigurationError, match="metadata"):
        check_url(f"https://{host}/latest", allow_http)


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "[fd00::1]", "100.100.100.201", "169.253.0.1", "alerts.internal"])
def test_private_networks_are_the_operators_choice(host: str) -> None:
    check_url(f"https://{host}/hook", allow_http=False)
