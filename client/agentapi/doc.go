// Package agentapi lets programs speak to a running agent: HTTP/1.1 with JSON bodies over a
// unix socket that only its owner can open.
//
// Every method of the agent is one POST to /v1/NAME with a JSON object; the answer is the JSON
// of its result, or a status of 400 or above with {"code":…,"name":…,"text":…,"hint":…}. Listen
// answers with one JSON object a line for as long as the connection holds. The types are those
// of package client, so the commands print with --json what travels here.
//
// Serve is the agent's side. Client is the other side, with the same methods as the agent
// itself; a program that must work with or without a running agent uses API. Where no agent
// runs, a Memory listener joins the two in one process.
package agentapi
