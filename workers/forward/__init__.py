"""One forward pass: the trunk and its heads as each kind of device runs them best."""
