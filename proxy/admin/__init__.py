"""The admin HTTP port: metrics, health and the configuration in force."""
