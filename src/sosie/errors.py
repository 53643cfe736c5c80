"""The one family of errors: each message is a line for the user, never a traceback."""


class SosieError(Exception):
    """Something the user can mend: the message names the file, branch or key, the value, the remedy."""


class SettingsError(SosieError):
    """A value in the configuration that cannot be used."""


class InputError(SosieError):
    """A file given by the user that cannot be used."""


class IntermediateError(SosieError):
    """A file written by an earlier step that cannot be trusted."""
