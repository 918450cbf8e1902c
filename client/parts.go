package client

import (
	"sync"

	"relaymarket/identity"
	"relaymarket/records"
)

// parts are records whose download broke off, kept in memory: the same request resumes at a chunk,
// unbilled. What is lost with the process is downloaded again from the beginning, which the same
// request allows too.
type parts struct {
	mu  sync.Mutex
	all map[partName]part // guarded by mu
}

type partName struct {
	relay  identity.PublicKey
	record identity.Digest
}

type part struct {
	request identity.Digest
	content []byte
}

// maxParts bounds the memory: the rest begins anew.
const maxParts = 16

func newParts() *parts { return &parts{all: make(map[partName]part)} }

func (p *parts) has(relay identity.PublicKey, record identity.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.all[partName{relay, record}]
	return ok
}

func requestDigest(s identity.Signed) identity.Digest {
	return identity.StatementDigest(identity.TypeReadRequest, s.Statement)
}

// keep remembers whole chunks of a download that broke off.
func (p *parts) keep(relay identity.PublicKey, d *download) {
	n := len(d.content) / records.ChunkSize * records.ChunkSize
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && len(p.all) < maxParts {
		p.all[partName{relay, d.record}] = part{requestDigest(d.request), d.content[:n]}
	}
}

// resume gives a download what is there of it already, if its request is still the same.
func (p *parts) resume(relay identity.PublicKey, d *download) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := partName{relay, d.record}
	if x, ok := p.all[name]; ok && x.request == requestDigest(d.request) {
		d.content, d.offset = x.content, uint32(len(x.content))
	}
	delete(p.all, name)
}
