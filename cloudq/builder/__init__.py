"""The builder of disposable clusters (`cloudqaws`)."""
