package client

// wire connects the parts of the agent that know nothing of each other: messages and sessions
// on one side, contracts and money on the other. Open calls it before anything runs; what is set
// here may use everything of the agent.
func (a *Agent) wire() {
	a.paymentRequested = a.onPaymentRequested
	a.jobs = []job{{"payments", a.followMoney}, {"renewals", a.followRenewals}, {"recoveries", a.followCopies}}
}
