package wire

import (
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/model"
)

func seq(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func seq16(from byte) [16]byte { return [16]byte(seq(16, from)) }
func seq32(from byte) [32]byte { return [32]byte(seq(32, from)) }

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// sampleReport is what a set-top box says.
func sampleReport() model.Report {
	return model.Report{
		Info: model.DeviceInfo{DeviceCategory: model.CategorySTB, Manufacturer: "Example", ManufacturerOUI: "0000AB",
			ModelName: "Box 4K", ModelNumber: "B4K-1", SerialNumber: "SN0001", SoftwareVersion: "1.2.3", FriendlyName: "Wohnzimmer (Gerät)"},
		HostName: "stb",
		Interfaces: []model.Interface{
			{Name: "eth0", MAC: model.MAC{2, 0, 0, 0, 0, 1}, Medium: model.MediumEthernet, Up: true, SpeedMbps: 1000,
				Addresses: []model.Address{{Prefix: prefix("192.168.1.20/24"), Type: model.AddressingStatic}, {Prefix: prefix("169.254.3.4/16"), Type: model.AddressingAutoIP}}},
			{Name: "wlan0", MAC: model.MAC{2, 0, 0, 0, 0, 2}, Medium: model.MediumWiFi},
		},
		Managed: "eth0", Gateway: addr("192.168.1.1"), DNS: []netip.Addr{addr("192.168.1.1"), addr("2001:db8::53")},
		Services:     []model.Service{{Name: "iptv", Kind: "iptv", State: model.ServiceRunning}, {Name: "minidlna", Kind: "dlna-server", State: model.ServiceStopped}},
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDHCPv4, model.CanDNS},
		Groups:       []netip.Addr{addr("239.1.2.3"), addr("239.1.2.4")},
		Backend:      "netlink", Generation: 7, State: model.CommitConfirmed,
	}
}

// largestReport has every list and text at its limit.
func largestReport() model.Report {
	text := func(n int) string { return fmt.Sprintf("%0256d", n) }
	r := model.Report{
		Info: model.DeviceInfo{DeviceCategory: "Abcdefgh_Abcdefghijklmnopqrstuv", Manufacturer: text(1), ManufacturerOUI: text(2), ModelName: text(3),
			ModelNumber: text(4), SerialNumber: text(5), SoftwareVersion: text(6), FriendlyName: text(7)},
		HostName: text(8), Managed: text(9), Gateway: addr("192.168.1.1"), Backend: text(10), Generation: 1<<64 - 1, State: model.CommitPending,
	}
	for i := range MaxInterfaces {
		n := model.Interface{Name: text(i), MAC: model.MAC{2, 0, 0, 0, 0, byte(i)}, Medium: model.MediumEthernet, Up: true, SpeedMbps: 1<<32 - 1}
		for j := range MaxAddresses {
			n.Addresses = append(n.Addresses, model.Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j), 1}), 32), Type: model.AddressingStatic})
		}
		r.Interfaces = append(r.Interfaces, n)
	}
	for i := range MaxDNS {
		r.DNS = append(r.DNS, netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(i)}))
	}
	for i := range MaxServices {
		r.Services = append(r.Services, model.Service{Name: text(i), Kind: text(i), State: model.ServiceRunning})
	}
	for i := range MaxCapabilities {
		r.Capabilities = append(r.Capabilities, model.Capability(text(i)))
	}
	for i := range MaxGroups {
		r.Groups = append(r.Groups, netip.AddrFrom4([4]byte{239, 0, 0, byte(i)}))
	}
	return r
}

func sampleSettings() model.Settings {
	return model.Settings{Generation: 8, AddressingType: model.AddressingStatic, Address: prefix("192.168.1.20/24"),
		Gateway: addr("192.168.1.1"), DNS: []netip.Addr{addr("192.168.1.1"), addr("9.9.9.9")}}
}

type namedMessage struct {
	name string
	m    Message
}

// sampleMessages has every message, some in more than one form.
func sampleMessages() []namedMessage {
	return []namedMessage{
		{"report", Report{Seq: 3, Full: true, Base: seq32(1), Digest: seq32(2), Report: sampleReport()}},
		{"report, empty", Report{Full: true}},
		{"configure, static", Configure{Settings: sampleSettings(), Deadline: 30 * time.Second}},
		{"configure, DHCP", Configure{Settings: model.Settings{Generation: 9, AddressingType: model.AddressingDHCP}, Deadline: time.Millisecond}},
		{"outcome, applied", Outcome{model.Outcome{Generation: 8, Code: model.OutcomeApplied}}},
		{"outcome, reverted", Outcome{model.Outcome{Generation: 8, Code: model.OutcomeReverted, Reason: "the gateway does not answer"}}},
		{"confirm", Confirm{Generation: 8, Digest: SettingsDigest(sampleSettings())}},
		{"confirmed", Confirmed{Generation: 8}},
		{"event", Event{Kind: "service.stopped", Text: "minidlna stopped"}},
		{"pair, commit", Pair{Step: PairCommit, Commit: seq32(3)}},
		{"pair, nonce", Pair{Step: PairNonce, Nonce: seq16(4)}},
		{"pair, reveal", Pair{Step: PairReveal, Nonce: seq16(5)}},
		{"pair, adopt", Pair{Step: PairAdopt, Discovery: seq32(6), Instance: seq16(7), Term: 1, Ticket: seq16(8), TicketKey: seq32(9)}},
		{"pair, adopt without a ticket", Pair{Step: PairAdopt, Discovery: seq32(6), Instance: seq16(7)}},
		{"pair, pinned", Pair{Step: PairPinned}},
		{"pair, refused", Pair{Step: PairRefused}},
		{"retire", Retire{Reason: "replaced"}},
		{"retire, no reason", Retire{}},
		{"ticket", Ticket{ID: seq16(10), Key: seq32(11)}},
	}
}

type namedBody struct {
	name     string
	receiver uint32
	b        Body
}

// sampleBodies has every body of a discovery or handshake frame.
func sampleBodies() []namedBody {
	return []namedBody{
		{"solicit", 0, Solicit{Nonce: seq16(1)}},
		{"advertise, unsolicited", 0, Advertise{Instance: seq16(2), Nonce: seq16(3)}},
		{"advertise, answering", 0, Advertise{Instance: seq16(2), Nonce: seq16(3), Asker: seq16(1), Cookie: seq(16, 4), Tag: seq(32, 5), Ways: []Way{WayApprove, WayCode}}},
		{"handshake 1, XX", 0, Handshake1{Pattern: PatternXX, Way: WayApprove, Sender: 0x01020304, Instance: seq16(2), AgentNonce: seq16(1), HomeNonce: seq16(3), Cookie: seq(16, 4), Noise: seq(32, 6)}},
		{"handshake 1, IK with a ticket", 0, Handshake1{Pattern: PatternIK, Sender: 5, Instance: seq16(2), AgentNonce: seq16(1), HomeNonce: seq16(3), Cookie: seq(16, 4), Ticket: seq(16, 7), TicketMAC: seq(16, 8), Noise: seq(96, 6)}},
		{"handshake 1, code", 0, Handshake1{Pattern: PatternXXpsk3, Way: WayCode, Sender: 6, Instance: seq16(2), AgentNonce: seq16(1), HomeNonce: seq16(3), Cookie: seq(16, 4), Discriminator: 0xabc, Noise: seq(48, 6)}},
		{"handshake 2", 0x01020304, Handshake2{Sender: 0x0a0b0c0d, Noise: seq(96, 9)}},
		{"handshake 3", 0x0a0b0c0d, Handshake3{Noise: seq(64, 10)}},
	}
}

type namedRecord struct {
	name string
	r    Record
}

// sampleRecords has every record.
func sampleRecords() []namedRecord {
	ack := Record{Kind: RecordAck, Next: 5, Count: 2}
	ack.Acks[0] = AckEntry{Message: 5, Fragments: 3, Bitmap: Bitmap{0b101}}
	ack.Acks[1] = AckEntry{Message: 7, Fragments: MaxFragments}
	ack.Acks[1].Bitmap.Set(127)
	return []namedRecord{
		{"data, whole", Record{Kind: RecordData, Message: 1, Fragments: 1, Bytes: seq(20, 1)}},
		{"data, a fragment", Record{Kind: RecordData, Message: 0x01020304, Fragment: 122, Fragments: 123, Bytes: seq(3, 1)}},
		{"ack, nothing outstanding", Record{Kind: RecordAck, Next: 2}},
		{"ack, selective", ack},
		{"ping", Record{Kind: RecordPing, Token: 0x0102030405060708}},
		{"pong", Record{Kind: RecordPong, Token: 0x0102030405060708}},
		{"close", Record{Kind: RecordClose, Reason: 1}},
	}
}
