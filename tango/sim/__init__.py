"""What runs the controllers without daemons: recordings again, on no clock but their own."""
