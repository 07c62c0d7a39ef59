package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// transcripts are what a person reads, whole.
func TestTranscripts(t *testing.T) {
	at := func(ms int) time.Time { return time.Date(2026, 3, 1, 20, 15, 0, ms*1e6, time.Local) }
	mac := model.MAC{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	box := calls.DeviceSummary{
		ID: "d0123456789", Name: "Living room", Category: model.CategorySTB, Profile: "set_top_box", Class: model.ClassBroadcastVideo,
		State: model.DeviceAdopted, Agent: true, Online: true, MAC: mac, Address: netip.MustParseAddr("192.168.1.20"),
		Progress: "configured", LastSeen: at(0),
	}
	finding := model.Finding{ID: "no-shaper", Kind: "no-shaper", Text: "Nothing shapes the line to the outside.",
		Step: "Install sqm-scripts and set the line's rates.", Since: at(0)}
	for _, tt := range []struct {
		call   string
		result any
		want   string
	}{
		{"status", calls.StatusResult{
			Version: "1.0", Instance: "00ff", Home: "ab12", UptimeSeconds: 3725, Interface: "br-lan", LinkUp: true,
			LAN:       model.LAN{Network: "lan", Device: "br-lan", Prefix: netip.MustParsePrefix("192.168.1.1/24"), MAC: mac},
			WAN:       model.WAN{Network: "wan", Device: "eth0", Up: true, SpeedMbps: 1000},
			Rates:     model.Rates{DownMbps: 100, UpMbps: 20, Source: "sqm", Shaper: true},
			Multicast: model.MulticastFact{Installed: true, Running: true, Configured: true, Upstream: "wan", Downstream: []string{"lan"}},
			Devices:   map[model.DeviceState]int{model.DeviceAdopted: 1, model.DeviceWaiting: 1},
			Waiting:   []calls.WaitingDevice{{ID: "dfedcba9876", MAC: mac, Way: "approve", Digits: "482913", Since: at(0)}},
			Pairing:   calls.PairResult{Way: "approve"},
		}, `
All is well.

home          ab12
configurator  00ff, version 1.0, up 1h2m5s
interface     br-lan, up
LAN           br-lan, 192.168.1.1/24
WAN           eth0, up, 1000 Mbit/s, line 100 Mbit/s down, 20 up (as sqm says), shaped
IGMP proxy    running, from wan to lan
devices       2: 1 adopted, 1 waiting
pairing       approve, pairing window is closed

Waiting for your yes:
ID           NAME  MAC                WAY      SINCE
dfedcba9876  -     00:11:22:33:44:55  approve  2026-03-01 20:15:00
Read the six digits at the device, then: homeconf device adopt ID --code NNNNNN
`},
		{"home_leave", calls.LeaveResult{Devices: []calls.LeftDevice{
			{ID: "d0123456789", Name: "Living room", DHCP: true, Said: "gets its address by DHCP"},
			{ID: "dfedcba9876", Name: "Bob's\x1b[2J TV", Kept: true, Said: "did not answer, so its reservation of 192.168.1.251 stays"}}}, `
homeconf has left the gateway.
  Living room (d0123456789) gets its address by DHCP.
  Bob's\u001b[2J TV (dfedcba9876) did not answer, so its reservation of 192.168.1.251 stays.
The reservations that stay are the sections named hc_… in /etc/config/dhcp; delete each when its device uses DHCP.
`},
		{"device_list", calls.DevicesResult{Devices: []calls.DeviceSummary{box,
			{ID: "m001122334455", Name: "m001122334455", State: model.DeviceSeen, MAC: mac, Findings: 1}}}, `
ID             NAME           CATEGORY  ADDRESS       MAC                AGENT     NOW   STATE
d0123456789    Living room    AV_STB    192.168.1.20  00:11:22:33:44:55  agent     here  adopted, configured
m001122334455  m001122334455  -         -             00:11:22:33:44:55  no agent  away  seen, 1 wrong
`},
		{"device_show", calls.DeviceDetail{DeviceSummary: box, Why: "its agent says so",
			Needs: &model.Profile{Name: "set_top_box", Address: model.AddressStatic, Class: model.ClassBroadcastVideo, Multicast: true, DownMbps: 25},
			Record: model.Record{ID: box.ID, MACs: []model.MAC{mac}, Choice: model.Choice{Name: "Living room"}, FirstSeen: at(0),
				Address: box.Address, Confirmed: 1, Desired: &model.Settings{Generation: 1, AddressingType: model.AddressingStatic,
					Address: netip.MustParsePrefix("192.168.1.20/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
					DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")}},
				Report: &model.Report{Info: model.DeviceInfo{Manufacturer: "ACME", ModelName: "STB 9", SerialNumber: "7"},
					Interfaces: []model.Interface{{Name: "eth0", MAC: mac, Medium: model.MediumEthernet, Up: true, SpeedMbps: 100,
						Addresses: []model.Address{{Prefix: netip.MustParsePrefix("192.168.1.20/24"), Type: model.AddressingStatic}}}},
					Services:   []model.Service{{Name: "player", Kind: "iptv", State: model.ServiceRunning}},
					Groups:     []netip.Addr{netip.MustParseAddr("239.1.1.1")},
					Generation: 1, State: model.CommitConfirmed}},
			Checks:  []model.Check{{What: "reservation", OK: true, Seen: "192.168.1.20 offered"}, {What: "mark", Seen: "no rule"}},
			Session: &calls.SessionResult{Since: at(0), MAC: mac},
		}, `
device              Living room, d0123456789
state               adopted, configured, with an agent, here
category            AV_STB, its agent says so
profile             set_top_box, address static, class broadcast-video, multicast, needs 25 Mbit/s
chosen by a person  name Living room
MAC                 00:11:22:33:44:55
seen                first 2026-03-01 20:15:00, last 2026-03-01 20:15:00
session             open, since 2026-03-01 20:15:00

Reported by its agent:
  product           ACME, STB 9
  serial number     7
  interface eth0    00:11:22:33:44:55, ethernet, up, 100 Mbit/s, 192.168.1.20/24 Static
  multicast groups  239.1.1.1
  service player    iptv, running
  settings          generation 1, confirmed

Asked of it:
  reserved address  192.168.1.20
  settings          generation 1, Static, 192.168.1.20/24, gateway 192.168.1.1, DNS 192.168.1.1
  confirmed         yes

Seen by the gateway:
  reservation  as it should be, 192.168.1.20 offered
  mark         NOT as it should be, no rule
`},
		{"plan", calls.PlanResult{DryRun: true, Lines: []calls.PlanLine{
			{Device: box.ID, Name: "Living room", What: "reservation", Value: "192.168.1.20", Reason: "the first free address below the pool"},
			{What: "igmp-proxy", Value: "wan to lan", Reason: "Living room receives multicast"},
		}, Findings: []model.Finding{finding}}, `
Dry run: nothing of this is done.
FOR          WHAT         VALUE         BECAUSE
Living room  reservation  192.168.1.20  the first free address below the pool
gateway      igmp-proxy   wan to lan    Living room receives multicast

- Nothing shapes the line to the outside.
  To mend it: Install sqm-scripts and set the line's rates.
  (no-shaper, since 2026-03-01 20:15:00)
`},
		{"finding_list", calls.FindingsResult{}, "\nNothing is wrong.\n"},
		{"event_list", calls.EventsResult{Events: []model.Event{
			{Seq: 7, Time: at(1), Kind: "home.started", Text: "The configurator started."},
			{Seq: 1234567, Time: at(80), Device: box.ID, Kind: "device.confirmed", Text: "Living room is configured.", Detail: []string{"address 192.168.1.20"},
				Changes: []model.Change{{What: "name", After: "Living\x1b room"}}},
		}}, `
     7  2026-03-01 20:15:00.001  home           The configurator started.
1234567  2026-03-01 20:15:00.080  d0123456789    Living room is configured.
                                                address 192.168.1.20
                                                name: - → Living\u001b room
`},
		{"agent_status", calls.AgentStatusResult{State: calls.AgentWaiting, Interface: "eth0", MAC: mac, LinkUp: true, Device: box.ID,
			Digits: "482913", Homes: 1, Commit: model.CommitNone, UptimeSeconds: 5, Version: "1.0"}, `
Waiting to be let in.

    482 913

At the gateway: homeconf device adopt d0123456789 --code 482913

device     d0123456789
interface  eth0, 00:11:22:33:44:55, up
state      none
up         5s, 1.0
`},
		{"agent_status", calls.AgentStatusResult{State: calls.AgentSearching, Interface: "eth0", MAC: mac, LinkUp: true, Device: box.ID,
			NeedsCode: true, Commit: model.CommitNone, UptimeSeconds: 5, Version: "1.0"}, `
Searching for a home.
At the gateway: homeconf pair code CODE, with the set-up code on this device's label.

device     d0123456789
interface  eth0, 00:11:22:33:44:55, up
state      none
up         5s, 1.0
`},
		{"pair_code", calls.CodeResult{Until: at(0), Codes: 1},
			"The device with this code may come until 2026-03-01 20:15:00; 1 set-up code awaits its device.\n"},
		{"pair_close", calls.PairResult{Way: "approve", Codes: 2},
			"The pairing window is closed, 2 set-up codes await their devices.\n"},
	} {
		raw, err := json.Marshal(tt.result)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := printers[tt.call](&b, raw); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != strings.TrimPrefix(tt.want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.call, got, tt.want)
		}
	}
}
