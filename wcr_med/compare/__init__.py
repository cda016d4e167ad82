"""The fair comparison of training methods: a study of many trainings, one table."""
