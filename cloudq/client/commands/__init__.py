"""The commands of `cloudqcli`: options read, the work given to the other packages, answers printed."""
