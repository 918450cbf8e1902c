package store

import "relaymarket/usage"

// A commit goes through three phases, because a sponsor's record touches two shards: what is
// harmless alone comes first. Content without its record row is dropped with its bucket; a
// claim without its record blocks only its path, and only until the record would have expired.
const (
	phaseContent = iota
	phaseClaims
	phaseHome
	phases
)

// write is one put, or one delete if value is nil.
type write struct {
	shard      uint8
	key, value []byte
}

func (w write) size() int { return len(w.key) + len(w.value) + 16 }

// step is everything that one job writes. Its writes of the last phase go to one shard, so
// that they are atomic.
type step struct {
	writes  [phases][]write
	ledgers []*ledger              // new states of accounts
	lanes   map[laneRef]usage.Lane // new states of lanes, which are among the writes
	boxes   []box                  // lists that now have something in a shard
	due     []dueAt                // closings that are now scheduled
}

type dueAt struct {
	shard uint8
	end   uint64
}

func (s *step) put(shard uint8, key, value []byte) {
	s.writes[phaseHome] = append(s.writes[phaseHome], write{shard, key, value})
}

func (s *step) delete(shard uint8, key []byte) {
	s.writes[phaseHome] = append(s.writes[phaseHome], write{shard, key, nil})
}

func (s *step) early(phase int, shard uint8, key, value []byte) {
	s.writes[phase] = append(s.writes[phase], write{shard, key, value})
}

// packer packs steps into groups.
type packer struct {
	groups  [phases][]*packing
	current [phases]map[uint8]*packing
}

// packing is a group under construction, with the jobs that are done when it is committed.
type packing struct {
	shard   uint8
	size    int
	puts    []Pair
	deletes [][]byte
	deleted map[string]bool
	account map[string]int // where in puts an account or a lane is
	jobs    []int
}

// add packs all writes of a job. A step's writes to one shard stay in one group, except
// content, which may be spread.
func (p *packer) add(job int, s *step) {
	for _, w := range s.writes[phaseContent] {
		p.into(phaseContent, w.shard, w.size()).add(w)
	}
	for phase := phaseClaims; phase < phases; phase++ {
		p.addPhase(phase, job, s.writes[phase])
	}
}

func (p *packer) addPhase(phase, job int, ws []write) {
	byShard := make(map[uint8][]write, 1)
	var order []uint8
	for _, w := range ws {
		if byShard[w.shard] == nil {
			order = append(order, w.shard)
		}
		byShard[w.shard] = append(byShard[w.shard], w)
	}
	for _, shard := range order {
		p.addShard(phase, job, byShard[shard])
	}
}

// addShard puts writes to one shard into one group.
func (p *packer) addShard(phase, job int, ws []write) {
	size := 0
	for _, w := range ws {
		size += w.size()
	}
	g := p.into(phase, ws[0].shard, size)
	if g.deletesAny(ws) {
		g = p.open(phase, ws[0].shard)
	}
	for _, w := range ws {
		g.add(w)
	}
	g.jobs = append(g.jobs, job)
}

// deletesAny tells whether the group deletes a key that is now put again: deletes come after
// puts within a group, so that needs the next one.
func (g *packing) deletesAny(ws []write) bool {
	for _, w := range ws {
		if w.value != nil && g.deleted[string(w.key)] {
			return true
		}
	}
	return false
}

// into finds a group of the shard with room for size bytes, or begins one.
func (p *packer) into(phase int, shard uint8, size int) *packing {
	g := p.current[phase][shard]
	if g != nil && (g.size == 0 || g.size+size <= MaxGroup) {
		return g
	}
	return p.open(phase, shard)
}

func (p *packer) open(phase int, shard uint8) *packing {
	g := &packing{shard: shard}
	if p.current[phase] == nil {
		p.current[phase] = make(map[uint8]*packing)
	}
	p.current[phase][shard] = g
	p.groups[phase] = append(p.groups[phase], g)
	return g
}

func (g *packing) add(w write) {
	g.size += w.size()
	if w.value != nil {
		g.put(w)
		return
	}
	if g.deleted == nil {
		g.deleted = make(map[string]bool)
	}
	g.deleted[string(w.key)] = true
	g.deletes = append(g.deletes, w.key)
}

// put adds a put. An account or a lane is charged by many jobs of a batch: only its last state is
// written.
func (g *packing) put(w write) {
	if w.key[0] == kindAccount || w.key[0] == kindLane {
		if i, ok := g.account[string(w.key)]; ok {
			g.puts[i].Value = w.value
			return
		}
		if g.account == nil {
			g.account = make(map[string]int)
		}
		g.account[string(w.key)] = len(g.puts)
	}
	g.puts = append(g.puts, Pair{w.key, w.value})
}

// all lists the groups in the order in which they must be committed.
func (p *packer) all() []*packing {
	var out []*packing
	for _, gs := range p.groups {
		out = append(out, gs...)
	}
	return out
}

func (s *step) empty() bool {
	for _, ws := range s.writes {
		if len(ws) > 0 {
			return false
		}
	}
	return true
}
