package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/model"
)

// The stream that the provider sends.
var channel = netip.MustParseAddrPort("239.1.2.3:5000")

// videoDSCP is CS3, broadcast video (RFC 4594, 4.5).
const videoDSCP = 24

const gatewayOptions = `
config configurator 'configurator'
	option manage_igmpproxy 'always'
	option download '100'
	option upload '40'
`

const boxOptions = `
config agent 'agent'
	option category 'AV_STB'
	option manufacturer 'Example'
	option model 'Box 4K'
	option serial '4711'
	option firmware '1.0.3'
	option name 'IPTV box'
	option resolv_conf '%s'

config service 'player'
	option kind 'iptv'
	option process 'player'
`

// scene is the world and what plays in it.
type scene struct {
	lab    *lab.Lab
	world  *lab.World
	stb    *lab.Box
	binary string
	began  time.Time
	boxRun string
	procs  []*lab.Process
}

func (s *scene) say(format string, args ...any) {
	fmt.Printf("%6.2f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *scene) proven(format string, args ...any) {
	s.say("  proven: "+format, args...)
}

// ask asks a daemon as a person would, and reads the answer.
func (s *scene) ask(ctx context.Context, runDir string, answer any, words ...string) error {
	args := append(slices.Clone(words), "--json", "--run-dir", runDir)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("homeconf %s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(append(errs.Bytes(), out.Bytes()...)))
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return fmt.Errorf("homeconf %s: reading the answer: %w", strings.Join(words, " "), err)
	}
	return nil
}

// until asks again and again until the answer is as wanted.
func until(ctx context.Context, what string, f func() (bool, error)) error {
	var last error
	for {
		ok, err := f()
		if ok {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%v)", what, ctx.Err(), last)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *scene) start(h *lab.Host, daemon string, dirs ...string) error {
	p, err := h.Start(append([]string{s.binary, daemon}, dirs...)...)
	if err != nil {
		return err
	}
	s.procs = append(s.procs, p)
	return nil
}

// iptv is the scene: a new IPTV box configures itself.
func (s *scene) iptv(ctx context.Context) (err error) {
	if s.world, err = lab.Gateway(s.lab, lab.GatewayOptions{IGMPProxy: lab.EmptyProxy, SQM: [2]int{100000, 40000},
		Config: map[string]string{"homeconf": gatewayOptions}}); err != nil {
		return err
	}
	w := s.world
	s.say("A provider, a gateway (br-lan, dnsmasq, NAT; igmpproxy installed and not set up) and its home.")
	if err := s.start(w.GW, "configurator", "--config-dir", w.ConfigDir, "--state-dir", w.StateDir, "--run-dir", w.RunDir); err != nil {
		return err
	}
	if err := until(ctx, "the configurator", func() (bool, error) {
		var st calls.StatusResult
		err := s.ask(ctx, w.RunDir, &st, "status")
		return err == nil, err
	}); err != nil {
		return err
	}
	stream, err := w.ISP.Stream(lab.StreamOptions{Interface: "home", Group: channel})
	if err != nil {
		return err
	}
	defer stream.Stop()
	s.say("The configurator runs on the gateway; the provider sends a channel to %s.", channel.Addr())

	if s.stb, err = w.Plug("stb"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(w.RunDir), "stb")
	if err != nil {
		return err
	}
	s.boxRun = filepath.Join(dir, "run")
	resolv := filepath.Join(dir, "resolv.conf")
	for path, text := range map[string]string{filepath.Join(dir, "homeconf"): fmt.Sprintf(boxOptions, resolv), resolv: ""} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := s.start(s.stb.Host, "agent", "--config-dir", dir, "--state-dir", filepath.Join(dir, "state"), "--run-dir", s.boxRun); err != nil {
		return err
	}
	if err := until(ctx, "the agent", func() (bool, error) {
		var st calls.AgentStatusResult
		err := s.ask(ctx, s.boxRun, &st, "agent", "status")
		return err == nil, err
	}); err != nil {
		return err
	}
	plugged := time.Now()
	if err := s.stb.PlugIn(); err != nil {
		return err
	}
	s.say("A set-top box that nobody has seen before is plugged in. It has no IP address.")
	var box calls.AgentStatusResult
	if err := until(ctx, "digits at the box", func() (bool, error) {
		err := s.ask(ctx, s.boxRun, &box, "agent", "status")
		return err == nil && box.Digits != "", err
	}); err != nil {
		return err
	}
	found := time.Since(plugged)
	s.say("It has found the configurator at Layer 2 and shows the digits %s (%.0f ms after the plug).", box.Digits, ms(found))
	addrs, err := s.stb.Addresses("eth0")
	if err != nil || len(addrs) > 0 {
		return fmt.Errorf("before it is let in, the box has the addresses %v (%v)", addrs, err)
	}
	if err := s.wrongDigits(ctx, box); err != nil {
		return err
	}
	s.say("A person reads them …")
	select {
	case <-time.After(time.Until(plugged.Add(2500 * time.Millisecond))):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.letIn(ctx, box, found)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (s *scene) wrongDigits(ctx context.Context, box calls.AgentStatusResult) error {
	wrong := "000000"
	if box.Digits == wrong {
		wrong = "000001"
	}
	var d calls.DeviceSummary
	if err := s.ask(ctx, s.world.RunDir, &d, "device", "adopt", string(box.Device), "--code", wrong); err == nil {
		return fmt.Errorf("wrong digits let the box in")
	}
	s.proven("wrong digits do not let it in")
	return nil
}

// letIn says yes, and then looks from outside at what came of it.
func (s *scene) letIn(ctx context.Context, box calls.AgentStatusResult, found time.Duration) error {
	w := s.world
	yes := time.Now()
	var d calls.DeviceSummary
	if err := s.ask(ctx, w.RunDir, &d, "device", "adopt", string(box.Device), "--code", box.Digits); err != nil {
		return err
	}
	if err := until(ctx, "the box to be configured", func() (bool, error) {
		var show calls.DeviceDetail
		err := s.ask(ctx, w.RunDir, &show, "device", "show", string(box.Device))
		d = show.DeviceSummary
		return err == nil && d.Progress == "configured", err
	}); err != nil {
		return err
	}
	took := time.Since(yes)
	s.say("The person says yes. %s is configured and verified %.0f ms later.", d.Name, ms(took))
	s.say("PLUGGED IN → CONFIGURED AND VERIFIED, without the person's time: %.0f ms", ms(found+took))

	addrs, err := s.stb.Addresses("eth0")
	want := d.Address.String() + "/24"
	if err != nil || !slices.Contains(addrs, want) {
		return fmt.Errorf("ip addr at the box shows %v, want %s (%v)", addrs, want, err)
	}
	s.proven("ip addr at the box: %s", want)
	offer, err := w.Offer(ctx, s.stb.MAC)
	if err != nil || offer != d.Address {
		return fmt.Errorf("dnsmasq offers %v to the box, want %s (%v)", offer, d.Address, err)
	}
	s.proven("dnsmasq itself offers %s to %s", offer, s.stb.MAC)
	if err := s.marked(ctx, d.Address.String()); err != nil {
		return err
	}
	if out, err := s.stb.Run(ctx, "ping", "-c", "1", "-W", "1", "198.51.100.1"); err != nil {
		return fmt.Errorf("the box does not reach the outside: %w: %s", err, out)
	}
	s.proven("the box reaches a host outside")
	if err := s.picture(ctx, d.ID); err != nil {
		return err
	}
	if err := s.plainBox(ctx); err != nil {
		return err
	}
	return s.story(ctx, d.ID)
}

func (s *scene) marked(ctx context.Context, dst string) error {
	rules, err := s.world.GW.Run(ctx, "iptables", "-t", "mangle", "-S", "HOMECONF_MARK")
	if err != nil {
		return err
	}
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "-d "+dst+"/32") && strings.Contains(line, "--set-dscp 0x18") {
			s.proven("iptables -t mangle: %s", strings.TrimSpace(line))
			return nil
		}
	}
	return fmt.Errorf("no mark for %s among\n%s", dst, rules)
}

// picture joins the channel, as the box's player would, and counts.
func (s *scene) picture(ctx context.Context, id model.DeviceID) error {
	begin := time.Now()
	r, err := s.stb.Receive("eth0", channel)
	if err != nil {
		return err
	}
	defer r.Leave()
	if err := r.Wait(ctx, 100, videoDSCP); err != nil {
		return fmt.Errorf("the channel at the box: %w (%d packets, DSCP %v)\n%s", err, r.Received(), r.DSCP(), s.world.Log("igmpproxy"))
	}
	s.say("The box joined the channel %s: the picture is up after %.1f s.", channel.Addr(), r.First().Sub(begin).Seconds())
	s.proven("100 packets of the stream counted at the box with DSCP %d", videoDSCP)
	return until(ctx, "the multicast path to be verified", func() (bool, error) {
		var ev calls.EventsResult
		err := s.ask(ctx, s.world.RunDir, &ev, "event", "list", "--device", string(id))
		ok := slices.ContainsFunc(ev.Events, func(e model.Event) bool { return e.Kind == "multicast.verified" })
		if ok {
			s.say("homeconf has looked at the multicast path itself, and found it working.")
		}
		return ok, err
	})
}

// plainBox is a second box, without an agent: the gateway's half is done for it.
func (s *scene) plainBox(ctx context.Context) error {
	w := s.world
	plain, err := w.Plug("plain")
	if err != nil {
		return err
	}
	if err := plain.PlugIn(); err != nil {
		return err
	}
	lease, err := plain.Lease(ctx, "old-box", "")
	if err != nil {
		return err
	}
	s.say("A box without an agent is plugged in; DHCP gives it %s.", lease.Address)
	mac, err := model.ParseMAC(plain.MAC.String())
	if err != nil {
		return err
	}
	id := model.IDOfMAC(mac)
	var d calls.DeviceSummary
	if err := until(ctx, "the box without an agent to be listed", func() (bool, error) {
		err := s.ask(ctx, w.RunDir, &d, "device", "set", string(id), "--category", "AV_STB", "--name", "Old box")
		return err == nil, err
	}); err != nil {
		return err
	}
	s.say("It is listed. A person says that it is a set-top box.")
	var offer netip.Addr
	if err := until(ctx, "its reservation", func() (bool, error) {
		if err := s.ask(ctx, w.RunDir, &d, "device", "show", string(id)); err != nil || d.Progress != "configured" {
			return false, err
		}
		offer, err = w.Offer(ctx, plain.MAC)
		return err == nil && offer == d.Address, err
	}); err != nil {
		return err
	}
	s.proven("dnsmasq itself offers %s to %s", offer, plain.MAC)
	return s.marked(ctx, offer.String())
}

// story prints what homeconf tells of it.
func (s *scene) story(ctx context.Context, id model.DeviceID) error {
	fmt.Println("\nWhat `homeconf event list` tells of the box:")
	cmd := exec.CommandContext(ctx, s.binary, "event", "list", "--device", string(id), "--run-dir", s.world.RunDir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	fmt.Println("\nWhat `homeconf finding list` says:")
	cmd = exec.CommandContext(ctx, s.binary, "finding", "list", "--run-dir", s.world.RunDir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// logs prints what the daemons said, when a proof has failed.
func (s *scene) logs() {
	for _, p := range s.procs {
		fmt.Fprintln(os.Stderr, p.Output())
	}
}

func (s *scene) playground() {
	b, w := s.binary, s.world
	fmt.Printf("\nIt keeps running. Play with it, and end it with Ctrl-C:\n  %s status --run-dir %s\n  %s device list --run-dir %s\n  %s agent status --run-dir %s\n  ip netns list\n",
		b, w.RunDir, b, w.RunDir, b, s.boxRun)
}
