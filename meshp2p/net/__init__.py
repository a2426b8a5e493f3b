"""The machine's network, on trio: sockets, node-to-node calls, and the addresses of this machine."""
