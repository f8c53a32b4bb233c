"""How Java's servers log: into a file that they turn over themselves, or to where their output goes."""

from pathlib import Path
from typing import Final

from pipeline.log_files import LOG_BYTES

CONSOLE: Final = """\
status = error
rootLogger.level = {level}
rootLogger.appenderRef.out.ref = out
appender.out.name = out
appender.out.type = Console
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n%throwable
"""
ROLLING: Final = f"""{CONSOLE.replace("Console", "RollingFile")}\
appender.out.fileName = ${{sys:log.file}}
appender.out.filePattern = ${{sys:log.file}}.%i
appender.out.policy.type = SizeBasedTriggeringPolicy
appender.out.policy.size = {LOG_BYTES}
appender.out.strategy.type = DefaultRolloverStrategy
appender.out.strategy.max = 1
"""


def write_console(path: Path, level: str) -> None:
    """Write the configuration of a tool, whose output is read when it ends."""
    path.write_text(CONSOLE.replace("{level}", level), "utf-8")


def write_rolling(path: Path, level: str) -> None:
    """Write the configuration of a server, which is started with ``options``."""
    path.write_text(ROLLING.replace("{level}", level), "utf-8")


def options(configuration: Path, log: Path | None = None) -> tuple[str, ...]:
    """Return Java's options for that configuration; ``log`` is the file of a server (Flink's web page reads it there too)."""
    file = () if log is None else (f"-Dlog.file={log}",)
    return f"-Dlog4j2.configurationFile={configuration}", *file
