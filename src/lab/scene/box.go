package scene

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
)

// agentOptions is UCI's homeconf on a set-top box.
const agentOptions = `
config agent 'agent'
	option category 'AV_STB'
	option manufacturer 'Example'
	option model 'Box 4K'
	option serial '4711'
	option firmware '1.0.3'
	option name '%s'
	option resolv_conf '%s'

config service 'player'
	option kind 'iptv'
	option process 'player'
`

// Listen is how long a new box listens for a second home before it lets itself
// be taken: a yes that comes earlier waits for that.
const Listen = 2 * time.Second

// Box is a set-top box with an agent on it.
type Box struct {
	*lab.Box
	Home *Home
	// ConfigDir, StateDir and RunDir are what the agent gets as flags; Resolv
	// is where it writes DNS servers to.
	ConfigDir, StateDir, RunDir, Resolv string
	Agent                               *lab.Process
	// Program is what runs the agent, and its first arguments; by default the
	// home's binary.
	Program []string
}

// NewBox makes a box that is joined to the bridge and turned off. Its agent is
// started by Start, and its interface comes up by PlugIn.
func (h *Home) NewBox(host, name string) (*Box, error) {
	lb, err := h.Plug(host)
	if err != nil {
		return nil, err
	}
	b := &Box{Box: lb, Home: h, ConfigDir: filepath.Join(lb.Dir, "config"), StateDir: filepath.Join(lb.Dir, "state"),
		RunDir: filepath.Join(lb.Dir, "run"), Resolv: filepath.Join(lb.Dir, "resolv.conf")}
	if err := os.Mkdir(b.ConfigDir, 0o755); err != nil {
		return nil, err
	}
	for path, text := range map[string]string{filepath.Join(b.ConfigDir, "homeconf"): fmt.Sprintf(agentOptions, name, b.Resolv), b.Resolv: ""} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Start starts the agent, with more environment as KEY=value.
func (b *Box) Start(env ...string) (err error) {
	program := b.Program
	if program == nil {
		program = []string{b.Home.Binary}
	}
	args := append(slices.Clone(program), "agent", "--config-dir", b.ConfigDir, "--state-dir", b.StateDir, "--run-dir", b.RunDir)
	b.Agent, err = b.StartEnv(env, args...)
	return err
}

// Call makes a call to the agent over its socket.
func (b *Box) Call(ctx context.Context, name string, args calls.Args, result any) error {
	return calls.Do(ctx, calls.SocketPath(b.RunDir, calls.Agent), name, args, result)
}

// Status is what the agent says of itself.
func (b *Box) Status(ctx context.Context) (st calls.AgentStatusResult, err error) {
	err = b.Call(ctx, "agent_status", nil, &st)
	return st, err
}

// Ready waits until the agent answers.
func (b *Box) Ready(ctx context.Context) error {
	return Until(ctx, "the agent on "+b.Name, func() (bool, error) {
		_, err := b.Status(ctx)
		return err == nil, err
	})
}

// Digits waits until the box shows digits, and the configurator knows them.
func (b *Box) Digits(ctx context.Context) (st calls.AgentStatusResult, err error) {
	err = Until(ctx, "digits at "+b.Name, func() (waits bool, err error) {
		st, waits, err = b.Waits(ctx)
		return waits, err
	})
	return st, err
}

// Waits says whether the box waits to be let in: it shows digits, and the
// configurator knows the same.
func (b *Box) Waits(ctx context.Context) (st calls.AgentStatusResult, waits bool, err error) {
	if st, err = b.Status(ctx); err != nil || st.Digits == "" {
		return st, false, err
	}
	var home calls.StatusResult
	if err := b.Home.Call(ctx, "status", nil, &home); err != nil {
		return st, false, err
	}
	return st, slices.ContainsFunc(home.Waiting, func(w calls.WaitingDevice) bool { return w.ID == st.Device && w.Digits == st.Digits }), nil
}
