package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// bar shows that something takes time, to a person only: on a terminal, and not with --json.
type bar struct {
	bar  *progressbar.ProgressBar
	stop chan struct{}
	done chan struct{}
}

// progress begins a bar of so many steps, or a spinner with -1. The zero bar shows nothing.
func (o *options) progress(cmd *cobra.Command, steps int, what string) *bar {
	if o.json || !isTerminal(cmd.ErrOrStderr()) {
		return &bar{}
	}
	b := &bar{stop: make(chan struct{}), done: make(chan struct{})}
	b.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(), progressbar.OptionSpinnerType(14), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(50*time.Millisecond))
	go b.spin(steps < 0)
	return b
}

// spin moves a spinner, and the clock of a bar.
func (b *bar) spin(spinner bool) {
	defer close(b.done)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if spinner {
				_ = b.bar.Add(1)
			} else {
				_ = b.bar.RenderBlank()
			}
		case <-b.stop:
			return
		}
	}
}

// set shows a step and a word on it.
func (b *bar) set(step int, what string) {
	if b.bar != nil {
		b.bar.Describe(what)
		_ = b.bar.Set(step)
	}
}

// end takes the bar away.
func (b *bar) end() {
	if b.bar != nil {
		close(b.stop)
		<-b.done
		_ = b.bar.Finish()
		b.bar = nil
	}
}
