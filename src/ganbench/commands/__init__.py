"""One file a sub-command, thin: parse, call, print."""
