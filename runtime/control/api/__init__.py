"""The control API: who watches and steers a run, over HTTP."""
