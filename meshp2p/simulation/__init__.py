"""The protocol in virtual time: any number of nodes through partitions, crashes, loss and sleep, replayable from a
seed."""
