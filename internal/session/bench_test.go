package session

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"relaymarket/internal/message"
	"relaymarket/internal/transport"
)

func benchConfig(b *testing.B) (ServerConfig, Config) {
	t := &testing.T{}
	return serverConfig(t, answer), clientConfig(t)
}

// BenchmarkCall measures answered requests per second of one client, alone and pipelined.
func BenchmarkCall(b *testing.B) {
	for _, plain := range []bool{true, false} {
		for _, workers := range []int{1, 32} {
			b.Run(fmt.Sprintf("plain=%v/workers=%d", plain, workers), func(b *testing.B) {
				sc, cc := benchConfig(b)
				o, stop := listen(b, sc, plain)
				defer stop()
				c, err := Dial(b.Context(), o, cc)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				b.ResetTimer()
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						for i := w; i < b.N; i += workers {
							m := &message.Write{Bundles: [][]byte{{1}}, Contents: [][]byte{make([]byte, 300)}}
							if _, err := c.Call(b.Context(), m); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// BenchmarkIdle measures the memory of one idle session, both ends together, of which the
// relay's is less than half.
func BenchmarkIdle(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) {
			sc, cc := benchConfig(b)
			sc.Limits.SessionsPerKey = 65535
			o, stop := listen(b, sc, plain)
			defer stop()
			before := memory()
			var all []transport.Conn
			for range b.N {
				conn, err := transport.Dial(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, conn)
				if err := newClient(conn, cc).handshake(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(memory()-before)/float64(b.N), "B/session")
			for _, c := range all {
				go c.Close(0, "")
			}
		})
	}
}

// memory is the heap and the stacks in use.
func memory() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
