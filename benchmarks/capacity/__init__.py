"""What a deployment needs: processor time, memory and store operations against what it is asked for."""
