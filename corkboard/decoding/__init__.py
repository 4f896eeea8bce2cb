"""Wire messages to the values of `answers`, and questions to messages; nothing else knows both."""
