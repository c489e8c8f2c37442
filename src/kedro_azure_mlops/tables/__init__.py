"""Tables as loggers and exports write them: what a file says is used, named or refused."""
