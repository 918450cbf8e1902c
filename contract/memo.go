package contract

import "sync"

// memo keeps the newest results of a function that depends on nothing but its argument. The scripts of a contract
// are asked for with every transaction, signature and watch of it, and cost points of the curve each time.
// Results are shared: whoever gets one must not change it.
type memo[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V // a result that is used again in time becomes young again
}

// memoSize bounds each of the two generations.
const memoSize = 2048

// get is make's result for k. Errors are not kept.
func (m *memo[K, V]) get(k K, make func() (V, error)) (V, error) {
	if v, ok := m.look(k); ok {
		return v, nil
	}
	v, err := make()
	if err == nil {
		m.keep(k, v)
	}
	return v, err
}

func (m *memo[K, V]) look(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.young[k]
	if !ok {
		if v, ok = m.old[k]; ok {
			m.put(k, v)
		}
	}
	return v, ok
}

func (m *memo[K, V]) keep(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k, v)
}

func (m *memo[K, V]) put(k K, v V) {
	if m.young == nil || len(m.young) >= memoSize {
		m.old, m.young = m.young, map[K]V{}
	}
	m.young[k] = v
}
