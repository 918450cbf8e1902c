package store

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"relaymarket/internal/code"
)

// end is what happens when pebble cannot go on: it could not write its log or its list of files,
// so that nothing more can be made durable, and what it holds in memory is no proof of anything. It
// may hold locks then and cannot be closed. The process must end, as by a power cut, and lose
// nothing that was synced.
//
// end is also pebble's logger, because that is how pebble tells it.
type end struct {
	dir string
	// fatal ends the process; nil: panic.
	fatal func(error)
}

// Infof drops pebble's chatter.
func (end) Infof(string, ...any) {}

// Errorf drops pebble's chatter.
func (end) Errorf(string, ...any) {}

// Fatalf does not return to pebble.
func (x end) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble cannot go on: "+format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("pebble cannot go on: %w", cause)
		}
	}
	x.now(err)
	panic("store: " + err.Error())
}

// background is told what failed in a flush or a compaction. Pebble tries these again for ever, which
// helps against everything but a disk without room: then commits would soon wait for ever, too.
func (x end) background(err error) {
	if full(err) {
		x.now(err)
	}
}

// guard tells the end where pebble panics instead: when it cannot begin a new log.
func (x end) guard(f func() error) error {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && !errors.As(err, new(runtime.Error)) {
			x.now(err)
		}
		panic(p)
	}()
	return f()
}

// now ends the process, where that was arranged.
func (x end) now(err error) {
	switch {
	case x.fatal == nil:
	case full(err):
		x.fatal(noRoom(x.dir, err))
	default:
		x.fatal(code.Wrap(code.StoreUnknown, err, "the store in %s cannot go on; what was answered is kept. Look at the disk and start again", x.dir))
	}
}

// noRoom says what to do where an error means that the disk is full.
func noRoom(dir string, err error) error {
	if !full(err) {
		return err
	}
	return code.Wrap(code.StoreUnknown, err, "the disk under %s is full, so nothing more can be kept safely; what was answered is kept. Make room and start again", dir)
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
