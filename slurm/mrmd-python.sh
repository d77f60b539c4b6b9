#!/bin/sh
# A mrmd-python runtime, as a Slurm job. `mrmd-python --kill ID` ends it.
#SBATCH --job-name=mrmd-python@ID
#SBATCH --chdir=HOME
#SBATCH --output=LOG
#SBATCH --open-mode=append
#SBATCH --export-file=ENVIRONMENT
# A job that is started again has lost its variables. `mrmd-python --restart ID` does it when the user wants it.
#SBATCH --no-requeue
# A minute before the time limit, the server warns in its log and in the output of what runs.
#SBATCH --signal=B:USR1@60
# Limits.

# Until the server handles it, this signal must not end it.
trap '' USR1
umask MASK
# The server replaces this shell: Slurm can be set up to send SIGTERM to the process of the script alone.
exec SERVER
