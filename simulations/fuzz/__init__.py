"""Fuzzing what reads the network: the codecs, the connections between nodes, and the machine behind them.

Two laws: nothing escapes but a refusal, and whatever a machine sends after any accepted input every decoder accepts. A
third holds between inputs: the machine's tables are sound.
"""
