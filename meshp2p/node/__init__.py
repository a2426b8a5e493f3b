"""The node that an agent embeds: all the parts put together."""
