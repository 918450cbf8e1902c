package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the relay's own counters, in a registry of its own so that several relays can
// live in one process.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	groups    prometheus.Histogram
	groupTime prometheus.Histogram
	bytesIn   prometheus.Counter
	bytesOut  prometheus.Counter
	expired   prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relay_requests_total", Help: "Requests by message and outcome (ok or the error's name)."},
			[]string{"message", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "relay_request_seconds", Help: "Time from a request's last byte to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}, []string{"message"}),
		groups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "relay_group_operations", Help: "Operations committed with one fsync.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		groupTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "relay_group_seconds", Help: "Time to decide and sync one group.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}),
		bytesIn:  counter("relay_content_bytes_stored_total", "Content bytes accepted."),
		bytesOut: counter("relay_content_bytes_served_total", "Content bytes sent to readers."),
		expired:  counter("relay_records_expired_total", "Records removed after their end of custody."),
	}
	m.registry.MustRegister(m.requests, m.latency, m.groups, m.groupTime, m.bytesIn, m.bytesOut, m.expired)
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// gauge registers a value that is read when it is asked for.
func (m *metrics) gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

func (m *metrics) group(ops int, took time.Duration) {
	m.groups.Observe(float64(ops))
	m.groupTime.Observe(took.Seconds())
}

func (m *metrics) request(message, outcome string, took time.Duration) {
	m.requests.WithLabelValues(message, outcome).Inc()
	m.latency.WithLabelValues(message).Observe(took.Seconds())
}
