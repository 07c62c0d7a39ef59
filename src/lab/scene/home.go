package scene

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/model"
)

// gatewayOptions is UCI's homeconf on the gateway: the owner has said what his
// line carries, and that homeconf may set up the IGMP proxy.
const gatewayOptions = `
config configurator 'configurator'
	option manage_igmpproxy 'always'
	option download '100'
	option upload '40'
`

// World is the world of the main scene: the line is shaped, and igmpproxy is
// installed and not set up.
func World() lab.GatewayOptions {
	return lab.GatewayOptions{IGMPProxy: lab.EmptyProxy, SQM: [2]int{100000, 40000},
		Config: map[string]string{"homeconf": gatewayOptions}}
}

// Home is a world in which homeconf's configurator runs on the gateway.
type Home struct {
	*lab.World
	Binary       string
	Configurator *lab.Process
}

// New makes the world in a lab. The configurator is started by Start.
func New(l *lab.Lab, binary string, o lab.GatewayOptions) (*Home, error) {
	w, err := lab.Gateway(l, o)
	if err != nil {
		return nil, err
	}
	return &Home{World: w, Binary: binary}, nil
}

// Start starts the configurator, with more environment as KEY=value.
func (h *Home) Start(env ...string) (err error) {
	h.Configurator, err = h.GW.StartEnv(env, h.Binary, "configurator",
		"--config-dir", h.ConfigDir, "--state-dir", h.StateDir, "--run-dir", h.RunDir)
	return err
}

// Call makes a call to the configurator over its socket.
func (h *Home) Call(ctx context.Context, name string, args calls.Args, result any) error {
	return calls.Do(ctx, calls.SocketPath(h.RunDir, calls.Configurator), name, args, result)
}

// Ready waits until the configurator answers and knows its LAN.
func (h *Home) Ready(ctx context.Context) error {
	return Until(ctx, "the configurator to be ready", func() (bool, error) {
		var st calls.StatusResult
		err := h.Call(ctx, "status", nil, &st)
		return err == nil && st.LAN.Prefix.IsValid(), err
	})
}

// Say types a command, as a person would, to a daemon, and reads its answer.
func (h *Home) Say(ctx context.Context, runDir string, answer any, words ...string) error {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Binary, append(slices.Clone(words), "--json", "--run-dir", runDir)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("homeconf %s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(append(errs.Bytes(), out.Bytes()...)))
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return fmt.Errorf("homeconf %s: reading the answer: %w", strings.Join(words, " "), err)
	}
	return nil
}

// Adopt lets a box in by the digits that it shows.
func (h *Home) Adopt(ctx context.Context, b *Box) error {
	st, err := b.Status(ctx)
	if err != nil {
		return err
	}
	return h.Call(ctx, "device_adopt", calls.Args{"id": string(st.Device), "code": st.Digits}, nil)
}

// Show is what the configurator knows of a device.
func (h *Home) Show(ctx context.Context, id model.DeviceID) (d calls.DeviceDetail, err error) {
	err = h.Call(ctx, "device_show", calls.Args{"id": string(id)}, &d)
	return d, err
}

// Configured waits until a device is configured and verified, and has a session
// where it has an agent.
func (h *Home) Configured(ctx context.Context, id model.DeviceID) (d calls.DeviceDetail, err error) {
	err = Until(ctx, fmt.Sprintf("%s to be configured", id), func() (bool, error) {
		var err error
		d, err = h.Show(ctx, id)
		return err == nil && d.Progress == "configured" && (id.Agentless() || d.Session != nil), err
	})
	return d, err
}

// Events lists what happened to a device, or to all.
func (h *Home) Events(ctx context.Context, id model.DeviceID) ([]model.Event, error) {
	var ev calls.EventsResult
	args := calls.Args{"limit": int64(1000)}
	if id != "" {
		args["device"] = string(id)
	}
	err := h.Call(ctx, "event_list", args, &ev)
	return ev.Events, err
}

// Build builds homeconf's binary into a folder, as make build does, with build
// tags. It is run below the project's top folder.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	return BuildFor(ctx, dir, nil, tags...)
}

// BuildFor is Build for another processor, which the environment names.
func BuildFor(ctx context.Context, dir string, env []string, tags ...string) (string, error) {
	binary := filepath.Join(dir, "homeconf")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-tags", strings.Join(tags, ","),
		"-o", binary, "homeconf/src/cmd/homeconf")
	cmd.Env = append(append(cmd.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build homeconf: %w: %s", err, out)
	}
	return binary, nil
}

// Until asks again and again until the answer is yes: every 2 ms at first, and
// less often when it takes long.
func Until(ctx context.Context, what string, f func() (bool, error)) error {
	var last error
	began := time.Now()
	for {
		ok, err := f()
		if ok {
			return nil
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("waiting for %s: %w; last: %w", what, ctx.Err(), last)
			}
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(min(max(2*time.Millisecond, time.Since(began)/20), 50*time.Millisecond)):
		}
	}
}
