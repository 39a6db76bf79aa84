"""What is known of other libraries beyond their documented interfaces: one file for each, with a canary test."""
