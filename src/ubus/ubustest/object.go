package ubustest

import (
	"slices"
	"strings"

	"homeconf/src/ubus"
	"homeconf/src/ubus/internal/frame"
)

type object struct {
	client *client
	id     uint32
	path   string
	named  bool // it has a path, be it an empty one
	kind   *objectType
	seq    uint16 // of what ubusd itself sends it

	subscribers []*object // newest first, as are
	targets     []*object
	seen        *frame.Writer // the last event it was sent
}

// objectType is a signature and who shares it.
type objectType struct {
	id        uint32
	signature []byte
	users     int
}

// free takes an object away and tells whom it concerns.
func (b *Broker) free(o *object) {
	for len(o.targets) > 0 {
		o.leave(o.targets[0])
	}
	for len(o.subscribers) > 0 {
		s := o.subscribers[0]
		s.seq++
		s.client.send(new(frame.Writer).Begin(frame.Unsubscribe, s.seq, 0).Uint32(frame.AttrObjID, s.id).
			Uint32(frame.AttrTarget, o.id))
		s.leave(o)
	}
	b.patterns = slices.DeleteFunc(b.patterns, func(p *pattern) bool { return p.object == o })
	if o.named {
		b.tellObject("ubus.object.remove", o)
		delete(b.paths, o.path)
	}
	o.client.objects = without(o.client.objects, o)
	delete(b.objects, o.id)
	if o.kind != nil {
		if o.kind.users--; o.kind.users == 0 {
			delete(b.types, o.kind.id)
		}
	}
}

// without is the list without the first mention of o.
func without(list []*object, o *object) []*object {
	if i := slices.Index(list, o); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// leave ends one subscription.
func (o *object) leave(target *object) {
	o.targets = without(o.targets, target)
	target.subscribers = without(target.subscribers, o)
	if len(target.subscribers) == 0 {
		target.tellActive()
	}
}

// tellActive tells an object's owner whether anybody listens.
func (o *object) tellActive() {
	o.seq++
	o.client.send(new(frame.Writer).Begin(frame.Notify, o.seq, 0).Uint32(frame.AttrObjID, o.id).
		Flag(frame.AttrActive, len(o.subscribers) > 0))
}

// pattern is what an object wants to hear of.
type pattern struct {
	key    string
	prefix bool
	object *object
}

// event serves the system object of events.
func (b *Broker) event(c *client, m *frame.Message) ubus.Status {
	args, err := ubus.Decode(m.Data)
	bad := !m.Has(frame.AttrData) || err != nil
	switch m.Method {
	case "register":
		id := args.Get("object")
		if bad || id.Type() != ubus.TypeInt32 || args.Get("pattern").Type() != ubus.TypeString {
			return ubus.StatusInvalidArgument
		}
		return b.listen(c, args.Uint32("object"), args.Text("pattern"))
	case "send":
		if bad || args.Get("id").Type() != ubus.TypeString || args.Get("data").Type() != ubus.TypeTable {
			return ubus.StatusInvalidArgument
		}
		name := args.Text("id")
		if strings.HasPrefix(name, "ubus.") || !c.may(name) {
			return ubus.StatusPermissionDenied
		}
		b.tell(c, name, args.Table("data"))
		return ubus.StatusOK
	}
	return ubus.StatusInvalidCommand
}

func (b *Broker) listen(c *client, id uint32, key string) ubus.Status {
	o := b.objects[id]
	switch {
	case id < 1024:
		return ubus.StatusPermissionDenied
	case o == nil:
		return ubus.StatusNotFound
	case o.client != c, key == "", !c.may(key):
		return ubus.StatusPermissionDenied
	}
	p := &pattern{object: o}
	p.key, p.prefix = strings.CutSuffix(key, "*")
	b.patterns = append(b.patterns, p)
	slices.SortStableFunc(b.patterns, func(x, y *pattern) int { return strings.Compare(x.key, y.key) })
	return ubus.StatusOK
}

// tell sends an event to each object that wants it, once, but not to those of
// the sender.
func (b *Broker) tell(from *client, name string, data ubus.Table) {
	first := new(frame.Writer) // tells this event from others
	for _, p := range b.patterns {
		o := p.object
		if !(p.key == name || p.prefix && strings.HasPrefix(name, p.key)) || o.client == from || o.seen == first {
			continue
		}
		o.seen = first
		b.eventSeq++
		o.client.send(new(frame.Writer).Begin(frame.Invoke, b.eventSeq, 0).Uint32(frame.AttrObjID, o.id).
			Text(frame.AttrMethod, name).Blob(frame.AttrData, data.Bytes()))
	}
}

func (b *Broker) tellObject(name string, o *object) {
	b.tell(nil, name, new(ubus.Builder).Uint32("id", o.id).String("path", o.path).Table())
}

// monitor is a client that sees all messages.
type monitor struct {
	client *client
	seq    uint16
}

func (b *Broker) monitor(c *client, m *frame.Message) ubus.Status {
	if c.uid != 0 {
		return ubus.StatusPermissionDenied
	}
	switch m.Method {
	case "add":
		b.unmonitor(c)
		b.monitors = append(b.monitors, &monitor{client: c})
		return ubus.StatusOK
	case "remove":
		b.unmonitor(c)
		return ubus.StatusOK
	}
	return ubus.StatusMethodNotFound
}

func (b *Broker) unmonitor(c *client) {
	b.monitors = slices.DeleteFunc(b.monitors, func(m *monitor) bool { return m.client == c })
}

// The attributes of MONITOR.
const (
	monitorClient = iota
	monitorPeer
	monitorSend
	monitorSeq
	monitorType
	monitorData
)

// watch repeats a message to the monitors.
func (b *Broker) watch(c *client, raw []byte, sent bool) {
	h, _, err := frame.ParseHeader(raw)
	if err != nil || len(b.monitors) == 0 {
		return
	}
	for _, m := range b.monitors {
		m.seq++
		m.client.send(new(frame.Writer).Begin(frame.Monitor, m.seq, 0).Uint32(monitorClient, c.id).
			Uint32(monitorPeer, h.Peer).Uint32(monitorSeq, uint32(h.Seq)).Uint32(monitorType, uint32(h.Type)).
			Flag(monitorSend, sent).Blob(monitorData, raw[frame.ReadLen:]))
	}
}
