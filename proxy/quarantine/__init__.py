"""The command `tensorwall quarantine`: captured rows on their way to a reviewer."""
