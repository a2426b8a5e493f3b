"""The flight recorder: what a machine was asked and what it was answered, so that it can be run again exactly.

::

    RecordedMachine ──(inputs, answers)──> Recorder ──> Recording ──> file
                                                                        │
    Machine <──(the same inputs and answers)── Replay <─────────────────┘
"""
