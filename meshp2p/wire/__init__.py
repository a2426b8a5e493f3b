"""Bytes to messages and back: the frame around every packet and call, the codec, and the limits on what the network may
send."""
