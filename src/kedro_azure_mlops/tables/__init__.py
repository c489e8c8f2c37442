"""Tables as loggers and exports write them: all content is used, reported or refused."""
