"""Events and log lines on their way from the stage process to the control plane.

The stage process writes event lines to one pipe, and its stdout and stderr to another. In order:

1. :mod:`~workers.events.pipe_reader` reads both pipes, cut into lines by
   :mod:`~workers.events.lines`, and takes the final event for the report of the outcome.
2. :mod:`~workers.events.attempt_log` limits the rate of log lines and keeps the last ones.
3. :mod:`~workers.events.messages` turns events and log lines into messages of the control plane.
4. :mod:`~workers.events.spool` numbers the messages and stores them on disk.
5. :mod:`~workers.events.reporter` streams them over PublishEvents until they are acknowledged.
"""
