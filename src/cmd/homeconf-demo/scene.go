package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/lab/scene"
	"homeconf/src/model"
)

// The stream that the provider sends.
var channel = netip.MustParseAddrPort("239.1.2.3:5000")

// videoDSCP is CS3, broadcast video (RFC 4594, 4.5).
const videoDSCP = 24

// play is the world and what plays in it.
type play struct {
	lab     *lab.Lab
	home    *scene.Home
	stb     *scene.Box
	binary  string
	began   time.Time
	plugged time.Time
	found   time.Duration // from the plug until digits were shown
	box     calls.AgentStatusResult
}

func (p *play) say(format string, args ...any) {
	fmt.Printf("%6.2f s  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

func (p *play) proven(format string, args ...any) {
	p.say("  proven: "+format, args...)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// theHome makes the home: the daemons run, and the provider sends.
func (p *play) theHome(ctx context.Context) (err error) {
	if p.home, err = scene.New(p.lab, p.binary, scene.World()); err != nil {
		return err
	}
	p.say("A provider, a gateway (br-lan, dnsmasq, NAT; igmpproxy installed and not set up) and its home.")
	if err := p.home.Start(); err != nil {
		return err
	}
	if err := p.home.Ready(ctx); err != nil {
		return err
	}
	if _, err := p.home.ISP.Stream(lab.StreamOptions{Interface: "home", Group: channel}); err != nil {
		return err
	}
	p.say("The configurator runs on the gateway; the provider sends a channel to %s.", channel.Addr())
	return nil
}

// newBox plugs a box in, which finds the home by itself.
func (p *play) newBox(ctx context.Context) (err error) {
	if p.stb, err = p.home.NewBox("stb", "IPTV box"); err != nil {
		return err
	}
	if err := p.stb.Start(); err != nil {
		return err
	}
	if err := p.stb.Ready(ctx); err != nil {
		return err
	}
	p.plugged = time.Now()
	if err := p.stb.PlugIn(); err != nil {
		return err
	}
	p.say("A set-top box that nobody has seen before is plugged in. It has no IP address.")
	if p.box, err = p.stb.Digits(ctx); err != nil {
		return err
	}
	p.found = time.Since(p.plugged)
	p.say("It has found the configurator at Layer 2 and shows the digits %s (%.0f ms after the plug).", p.box.Digits, ms(p.found))
	if err := p.stb.HasNoAddress(); err != nil {
		return err
	}
	p.proven("the box has no address yet")
	wrong := "000000"
	if p.box.Digits == wrong {
		wrong = "000001"
	}
	if err := p.home.Say(ctx, p.home.RunDir, new(calls.DeviceSummary), "device", "adopt", string(p.box.Device), "--code", wrong); err == nil {
		return fmt.Errorf("wrong digits let the box in")
	}
	p.proven("wrong digits do not let it in")
	p.say("A person reads them …")
	select {
	case <-time.After(time.Until(p.plugged.Add(scene.Listen + 300*time.Millisecond))):
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// letIn says yes, and then looks from outside at what came of it.
func (p *play) letIn(ctx context.Context) error {
	h, id := p.home, p.box.Device
	yes := time.Now()
	if err := h.Say(ctx, h.RunDir, new(calls.DeviceSummary), "device", "adopt", string(id), "--code", p.box.Digits); err != nil {
		return err
	}
	d, err := h.Configured(ctx, id)
	if err != nil {
		return err
	}
	took := time.Since(yes)
	steps, err := h.Timeline(ctx, id, yes)
	if err != nil {
		return err
	}
	p.say("The person says yes. %s is configured and verified %.0f ms later.", d.Name, ms(took))
	p.say("PLUGGED IN → CONFIGURED AND VERIFIED, without the person's time: %.0f ms", ms(p.found+took))
	for _, s := range append([]scene.Step{{What: "found at Layer 2, handshake, digits", Took: p.found}}, steps...) {
		p.say("  %5.1f ms  %s", ms(s.Took), s.What)
	}
	addr, err := p.stb.HasAddress(d.Address)
	if err != nil {
		return err
	}
	p.proven("ip addr at the box: %s", addr)
	if err := h.Offers(ctx, p.stb.Box, d.Address); err != nil {
		return err
	}
	p.proven("dnsmasq itself offers %s to %s", d.Address, p.stb.MAC)
	rule, err := h.Marked(ctx, d.Address, videoDSCP)
	if err != nil {
		return err
	}
	p.proven("iptables -t mangle: %s", rule)
	if err := p.stb.ReachesOutside(ctx); err != nil {
		return err
	}
	p.proven("the box reaches a host outside")
	return nil
}

// picture joins the channel, as the box's player would, and counts.
func (p *play) picture(ctx context.Context) error {
	h := p.home
	if err := h.WaitProxy(ctx); err != nil {
		return err
	}
	c, err := p.stb.Watch(channel)
	if err != nil {
		return err
	}
	defer c.Leave()
	first, err := c.Picture(ctx, 100, videoDSCP)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, h.Log("igmpproxy"))
	}
	p.say("The box joined the channel %s: the picture is up after %.2f s.", channel.Addr(), first.Seconds())
	p.proven("100 packets of the stream counted at the box")
	if err := c.Captured(ctx, 50, videoDSCP); err != nil {
		return err
	}
	p.proven("50 frames caught at the box have DSCP %d", videoDSCP)
	joined, err := h.JoinedOnWAN(channel.Addr())
	if err != nil {
		return err
	}
	p.proven("/proc/net/igmp, %s (%s)", joined, channel.Addr())
	route, err := h.Routed(channel.Addr())
	if err != nil {
		return err
	}
	p.proven("/proc/net/ip_mr_cache: %s", route)
	if err := scene.Until(ctx, "the multicast path to be verified", func() (bool, error) {
		events, err := h.Events(ctx, p.box.Device)
		return slices.ContainsFunc(events, func(e model.Event) bool { return e.Kind == "multicast.verified" }), err
	}); err != nil {
		return err
	}
	p.say("homeconf has looked at the multicast path itself, and found it working.")
	return nil
}

// plainBox is a second box, without an agent: the gateway's half is done for it.
func (p *play) plainBox(ctx context.Context) error {
	h := p.home
	plain, err := h.Plug("plain")
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
	p.say("A box without an agent is plugged in; DHCP gives it %s.", lease.Address)
	mac, err := model.ParseMAC(plain.MAC.String())
	if err != nil {
		return err
	}
	id := model.IDOfMAC(mac)
	if err := scene.Until(ctx, "the box without an agent to be listed", func() (bool, error) {
		err := h.Say(ctx, h.RunDir, new(calls.DeviceSummary), "device", "set", string(id), "--category", "AV_STB", "--name", "Old box")
		return err == nil, err
	}); err != nil {
		return err
	}
	p.say("It is listed. A person says that it is a set-top box.")
	if _, err := h.Configured(ctx, id); err != nil {
		return err
	}
	d, err := h.Show(ctx, id)
	if err != nil {
		return err
	}
	reserved := d.Record.Address // in force when the box asks again
	if err := h.Offers(ctx, plain, reserved); err != nil {
		return err
	}
	p.proven("dnsmasq itself offers %s to %s", reserved, plain.MAC)
	rule, err := h.Marked(ctx, reserved, videoDSCP)
	if err != nil {
		return err
	}
	p.proven("iptables -t mangle: %s", rule)
	if lease, err = plain.Lease(ctx, "old-box", ""); err != nil {
		return err
	}
	if lease.Address.Addr() != reserved {
		return fmt.Errorf("the box without an agent asks again and gets %s, want %s", lease.Address, reserved)
	}
	p.proven("the box asks again, and gets %s", lease.Address)
	return nil
}

// story prints what homeconf tells of it.
func (p *play) story(ctx context.Context) error {
	for _, words := range [][]string{{"device", "list"}, {"event", "list", "--device", string(p.box.Device)}, {"finding", "list"}} {
		fmt.Printf("\n$ homeconf")
		for _, w := range words {
			fmt.Print(" ", w)
		}
		fmt.Println()
		cmd := exec.CommandContext(ctx, p.binary, append(words, "--run-dir", p.home.RunDir)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

// logs prints what the daemons said, when a proof has failed.
func (p *play) logs() {
	if p.home != nil && p.home.Configurator != nil {
		fmt.Fprintf(os.Stderr, "\nthe configurator's log:\n%s", p.home.Configurator.Output())
	}
	if p.stb != nil && p.stb.Agent != nil {
		fmt.Fprintf(os.Stderr, "\nthe agent's log:\n%s", p.stb.Agent.Output())
	}
}

// playground prints what to play with in the home that is left running.
func (p *play) playground() {
	h, gw, stb := p.home, p.home.GW.Namespace, p.stb.Namespace
	fmt.Printf("\nIt keeps running. Play with it, and end it with Ctrl-C here, or with: kill %d\n", os.Getpid())
	for _, words := range [][]string{
		{p.binary, "status --run-dir", h.RunDir},
		{p.binary, "device list --run-dir", h.RunDir},
		{p.binary, "agent status --run-dir", p.stb.RunDir},
		{"ip netns exec", gw, "iptables -t mangle -S"},
		{"ip netns exec", gw, "cat /proc/net/ip_mr_vif"},
		{"ip -n", stb, "addr show eth0"},
		{"ip -n", stb, "link set eth0 down  # unplugs the box; up plugs it in again"},
		{"ip netns exec", stb, "ping", lab.Outside.Addr().String()},
		{"ls", h.ConfigDir, " # the gateway's UCI files"},
	} {
		fmt.Println(" ", strings.Join(words, " "))
	}
}
