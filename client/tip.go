package client

import "relaymarket/usage"

// Tip is the height of the last block that the agent's contracts were told of.
func (a *Agent) Tip() usage.Height { return a.runner.Tip() }
