package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"relaymarket/client"
	"relaymarket/client/agentapi"
	"relaymarket/internal/code"
)

// session is an agent to talk to: one that runs already, or one that lives as long as the
// command.
type session struct {
	agentapi.API
	o    *options
	cmd  *cobra.Command
	own  bool // started by this command, so it knows only what is fetched now
	quit func() error
}

// lockWait is how long a command waits for another one that uses the agent's directory without a
// socket of its own.
const lockWait = 15 * time.Second

// with runs f with an agent.
func (o *options) with(cmd *cobra.Command, f func(ctx context.Context, s *session) error) error {
	s, ctx, err := o.connect(cmd)
	if err != nil {
		return err
	}
	err = f(ctx, s)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause // the agent stopped under the command: that is the reason
	}
	return errors.Join(err, s.quit())
}

// connect finds the agent that runs, or starts one. The lock of the directory decides between
// commands that start at the same time; who loses looks for the socket again.
func (o *options) connect(cmd *cobra.Command) (*session, context.Context, error) {
	for end := time.Now().Add(lockWait); ; {
		c, err := agentapi.Dial(o.dir)
		if err == nil {
			s := &session{API: c, o: o, cmd: cmd, quit: func() error { c.Close(); return nil }}
			return s, cmd.Context(), nil
		}
		if code.Of(err) != code.NoAgent {
			return nil, nil, err
		}
		s, ctx, err := o.start(cmd)
		if code.Of(err) != code.AlreadyRunning || time.Now().After(end) {
			return s, ctx, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-cmd.Context().Done():
			return nil, nil, err
		}
	}
}

// open opens the agent in this process.
func (o *options) open(log *slog.Logger) (*client.Agent, error) {
	cfg, err := client.LoadConfig(o.dir)
	if err != nil {
		return nil, err
	}
	return client.Open(client.Options{Dir: o.dir, Config: cfg, Passphrase: os.Getenv(passphraseEnv), Log: log, Fatal: o.fatal})
}

// openSoon is open for an agent that stays: it waits for a command that uses the directory now, but
// not for another agent.
func (o *options) openSoon(ctx context.Context, log *slog.Logger) (*client.Agent, error) {
	for end := time.Now().Add(lockWait); ; {
		a, err := o.open(log)
		if code.Of(err) != code.AlreadyRunning || time.Now().After(end) {
			return a, err
		}
		if c, e := agentapi.Dial(o.dir); e == nil {
			c.Close()
			return nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// start runs an agent for the time of one command, and talks to it as to any other.
func (o *options) start(cmd *cobra.Command) (*session, context.Context, error) {
	agent, err := o.open(nil)
	if err != nil {
		return nil, nil, err
	}
	l := agentapi.NewMemory()
	// The agent ends after the command: what is in hand when a user interrupts is finished.
	running, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	ctx, lost := context.WithCancelCause(cmd.Context())
	g, gctx := errgroup.WithContext(running)
	g.Go(func() error { return agent.Run(gctx) })
	g.Go(func() error { return agentapi.Serve(gctx, agent, l) })
	context.AfterFunc(gctx, func() { lost(context.Cause(gctx)) })
	c := agentapi.NewClient(l.Dial)
	quit := func() error {
		c.Close()
		stop()
		err := g.Wait()
		return errors.Join(err, l.Close(), agent.Close())
	}
	return &session{API: c, o: o, cmd: cmd, own: true, quit: quit}, ctx, nil
}

// sync makes a round with all relays if the agent was started by this command; one that runs
// all the time is up to date. What could not be reached is told and spoils nothing.
func (s *session) sync(ctx context.Context, what string) {
	if !s.own {
		return
	}
	b := s.o.progress(s.cmd, -1, what)
	err := s.Sync(ctx)
	b.end()
	if err != nil && ctx.Err() == nil {
		warn(s.cmd.ErrOrStderr(), "not everything could be reached", err)
	}
}

// busy shows a spinner while f works.
func busy[T any](s *session, what string, f func() (T, error)) (T, error) {
	b := s.o.progress(s.cmd, -1, what)
	defer b.end()
	return f()
}

func warn(w io.Writer, what string, err error) {
	f := agentapi.FaultOf(err)
	_, _ = io.WriteString(w, "warning: "+what+": "+clean(or(f.Text, f.Name))+"\n")
}
