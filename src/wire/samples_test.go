package wire

import (
	"net/netip"
	"time"

	"homeconf/src/model"
)

// fill gives n bytes that count up from a number, so that one is told from
// another in a dump.
func fill(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func sample16(from byte) [16]byte { return [16]byte(fill(16, from)) }
func sample32(from byte) [32]byte { return [32]byte(fill(32, from)) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func sampleSettings() model.Settings {
	return model.Settings{Generation: 7, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix("192.168.1.250/24"),
		Gateway: addr("192.168.1.1"), DNS: []netip.Addr{addr("192.168.1.1"), addr("9.9.9.9")}}
}

func sampleReport() model.Report {
	return model.Report{
		Info: model.DeviceInfo{DeviceCategory: model.CategorySTB, Manufacturer: "Example", ManufacturerOUI: "00AABB", ModelName: "Box",
			ModelNumber: "B-1", SerialNumber: "1234", SoftwareVersion: "1.0", FriendlyName: "Grüße ☎"},
		HostName: "box", Managed: "eth0",
		Interfaces: []model.Interface{
			{Name: "eth0", MAC: model.MAC{2, 0, 0, 0, 0, 1}, Medium: model.MediumEthernet, Up: true, SpeedMbps: 1000,
				Addresses: []model.Address{{Prefix: netip.MustParsePrefix("192.168.1.250/24"), Type: model.AddressingStatic},
					{Prefix: netip.MustParsePrefix("169.254.1.2/16"), Type: model.AddressingAutoIP}}},
			{Name: "wlan0", MAC: model.MAC{2, 0, 0, 0, 0, 2}, Medium: model.MediumWiFi},
		},
		Gateway: addr("192.168.1.1"), DNS: []netip.Addr{addr("192.168.1.1"), addr("2001:db8::53")},
		Services:     []model.Service{{Name: "tv", Kind: "iptv", State: model.ServiceRunning}, {Name: "web", State: model.ServiceUnknown, Expose: []model.Port{{Protocol: model.TCP, Number: 443}, {Protocol: model.UDP, Number: 65535}}}},
		Capabilities: []model.Capability{model.CanStaticIPv4, model.CanDNS},
		Groups:       []netip.Addr{addr("239.1.1.1")}, Backend: "netlink", Generation: 7, State: model.CommitConfirmed,
	}
}

type namedBody struct {
	name string
	body Body
}

// sampleBodies has every body of a frame, with and without what is optional.
func sampleBodies() []namedBody {
	return []namedBody{
		{"solicit", Solicit{Nonce: sample16(1)}},
		{"advertise", Advertise{Instance: sample16(1), Nonce: sample16(2)}},
		{"advertise answer", Advertise{Instance: sample16(1), Nonce: sample16(2), Asker: sample16(3), Cookie: fill(20, 4), Tag: fill(32, 5),
			Ways: []Way{WayApprove, WayWindow, WayCode}}},
		{"handshake1 XX", Handshake1{Pattern: PatternXX, Way: WayApprove, Sender: 1, Instance: sample16(1), AgentNonce: sample16(2),
			HomeNonce: sample16(3), Cookie: fill(20, 4), Noise: fill(32, 5)}},
		{"handshake1 IK", Handshake1{Pattern: PatternIK, Sender: 1<<32 - 1, Instance: sample16(1), AgentNonce: sample16(2),
			HomeNonce: sample16(3), Ticket: fill(16, 6), TicketMAC: fill(16, 7), Noise: fill(96, 5)}},
		{"handshake1 XXpsk3", Handshake1{Pattern: PatternXXpsk3, Way: WayCode, Sender: 2, Instance: sample16(1), AgentNonce: sample16(2),
			HomeNonce: sample16(3), Cookie: fill(64, 4), Discriminator: MaxDiscriminator, Noise: fill(32, 5)}},
		{"handshake1 longest", Handshake1{Pattern: PatternXX, Way: WayWindow, Sender: 2, Instance: sample16(1), AgentNonce: sample16(2),
			HomeNonce: sample16(3), Cookie: fill(64, 4), Ticket: fill(16, 6), TicketMAC: fill(16, 7), Noise: fill(MaxNoise, 5)}},
		{"handshake2", Handshake2{Sender: 3, Noise: fill(96, 1)}},
		{"handshake3", Handshake3{Noise: fill(64, 1)}},
	}
}

type namedMessage struct {
	name string
	m    Message
}

// sampleMessages has every message, with and without what is optional.
func sampleMessages() []namedMessage {
	return []namedMessage{
		{"report empty", Report{}},
		{"report", Report{Seq: 3, Full: true, Base: sample32(1), Digest: sample32(2), Report: sampleReport()}},
		{"configure static", Configure{Settings: sampleSettings(), Deadline: 5 * time.Second}},
		{"configure dhcp", Configure{Settings: model.Settings{Generation: 1<<64 - 1, AddressingType: model.AddressingDHCP}, Deadline: MaxDeadline}},
		{"configure no gateway", Configure{Settings: model.Settings{Generation: 1, AddressingType: model.AddressingStatic,
			Address: netip.MustParsePrefix("10.0.0.2/32")}, Deadline: time.Millisecond}},
		{"outcome applied", Outcome{model.Outcome{Generation: 7, Code: model.OutcomeApplied}}},
		{"outcome reverted", Outcome{model.Outcome{Generation: 7, Code: model.OutcomeReverted, Reason: "nobody confirmed it in time"}}},
		{"outcome refused", Outcome{model.Outcome{Generation: 7, Code: model.OutcomeRefused, Reason: "older"}}},
		{"confirm", Confirm{Generation: 7, Digest: SettingsDigest(sampleSettings())}},
		{"confirmed", Confirmed{Generation: 7}},
		{"event", Event{Kind: "link.down", Text: "The cable was pulled."}},
		{"pair commit", Pair{Step: PairCommit, Commit: sample32(1)}},
		{"pair nonce", Pair{Step: PairNonce, Nonce: sample16(1)}},
		{"pair reveal", Pair{Step: PairReveal, Nonce: sample16(2)}},
		{"pair adopt", Pair{Step: PairAdopt, Discovery: sample32(1), Instance: sample16(2), Term: 9}},
		{"pair adopt with ticket", Pair{Step: PairAdopt, Discovery: sample32(1), Instance: sample16(2), Ticket: sample16(3), TicketKey: sample32(4)}},
		{"pair pinned", Pair{Step: PairPinned}},
		{"pair refused", Pair{Step: PairRefused}},
		{"retire", Retire{}},
		{"retire why", Retire{Reason: "sold"}},
		{"ticket", Ticket{ID: sample16(1), Key: sample32(2)}},
		{"keep asks", Keep{Term: 2}},
		{"keep", Keep{Term: 1<<64 - 1, Sealed: fill(60, 1)}},
		{"kept nothing", Kept{}},
		{"kept", Kept{Term: 3, Sealed: fill(60, 2)}},
		{"rotate", Rotate{Home: sample32(1), Discovery: sample32(2)}},
		{"rotated", Rotated{Home: sample32(1)}},
	}
}

type namedRecord struct {
	name string
	r    Record
}

func sampleRecords() []namedRecord {
	ack := Record{Kind: RecordAck, Next: 5, Count: 2}
	ack.Acks[0] = AckEntry{Message: 5, Fragments: 3}
	ack.Acks[0].Bitmap.Set(0)
	ack.Acks[0].Bitmap.Set(2)
	ack.Acks[1] = AckEntry{Message: 9, Fragments: MaxFragments}
	ack.Acks[1].Bitmap.Set(MaxFragments - 1)
	last := Record{Kind: RecordAck, Next: 1<<32 - 1, Count: 1}
	last.Acks[0] = AckEntry{Message: 1<<32 - 1, Fragments: 1}
	return []namedRecord{
		{"data", Record{Kind: RecordData, Message: 1, Fragments: 1, Bytes: []byte("x")}},
		{"data last fragment", Record{Kind: RecordData, Message: 1<<32 - 1, Fragment: MaxFragments - 1, Fragments: MaxFragments,
			Bytes: fill(MaxFrame-TransportOverhead-DataLen, 0)}},
		{"ack", ack},
		{"ack nothing", Record{Kind: RecordAck, Next: 1}},
		{"ack last message", last},
		{"ping", Record{Kind: RecordPing, Token: 1<<64 - 1}},
		{"pong", Record{Kind: RecordPong, Token: 1}},
		{"close", Record{Kind: RecordClose, Reason: 255}},
	}
}
