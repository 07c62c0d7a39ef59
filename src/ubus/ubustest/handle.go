package ubustest

import (
	"slices"
	"strings"

	"homeconf/src/ubus"
	"homeconf/src/ubus/internal/frame"
)

// no is the status of what is answered later, by somebody else, or never.
const no ubus.Status = -1

// receive handles one message, as ubusd does: to the end before the next.
func (b *Broker) receive(c *client, raw []byte, m *frame.Message) {
	b.watch(c, raw, false)
	status := ubus.StatusInvalidCommand
	switch m.Type {
	case frame.Ping:
		c.sendRaw(withPeer(raw, frame.Data, m.Peer))
		status = ubus.StatusOK
	case frame.Lookup:
		status = b.lookup(c, m)
	case frame.Invoke:
		status = b.invoke(c, m)
	case frame.Notify:
		status = b.notify(c, m)
	case frame.Status, frame.Data:
		b.respond(c, raw, m)
		status = no
	case frame.AddObject:
		status = b.add(c, m)
	case frame.RemoveObject:
		status = b.remove(c, m)
	case frame.Subscribe:
		status = b.subscribe(c, m)
	case frame.Unsubscribe:
		status = b.unsubscribe(c, m)
	}
	if status != no {
		c.send(new(frame.Writer).Begin(frame.Status, m.Seq, m.Peer).Uint32(frame.AttrStatus, uint32(status)))
	}
}

func (b *Broker) lookup(c *client, m *frame.Message) ubus.Status {
	paths := make([]string, 0, len(b.paths))
	for path := range b.paths {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	prefix, many := strings.CutSuffix(m.ObjPath, "*")
	switch {
	case !m.Has(frame.AttrObjPath):
		prefix, many = "", true
	case m.ObjPath == "":
		return ubus.StatusInvalidArgument
	}
	found := !m.Has(frame.AttrObjPath)
	for _, path := range paths {
		if path == prefix || many && strings.HasPrefix(path, prefix) {
			found = true
			b.show(c, m, b.paths[path])
		}
	}
	if !found {
		return ubus.StatusNotFound
	}
	return ubus.StatusOK
}

// show sends an object to who looks, unless it has no signature, or none of its
// methods is for them.
func (b *Broker) show(c *client, m *frame.Message, o *object) {
	if o.kind == nil {
		return
	}
	signature := o.kind.signature
	if len(signature) > 0 && !c.may(o.path) {
		return
	}
	c.send(new(frame.Writer).Begin(frame.Data, m.Seq, m.Peer).Text(frame.AttrObjPath, o.path).
		Uint32(frame.AttrObjID, o.id).Uint32(frame.AttrObjType, o.kind.id).Blob(frame.AttrSignature, signature))
}

// may says whether a client has rights to a path, or to an event. An object
// without a path is everybody's.
func (c *client) may(path string) bool { return c.uid == 0 || path == "" }

func (b *Broker) invoke(c *client, m *frame.Message) ubus.Status {
	if !m.Has(frame.AttrMethod) || !m.Has(frame.AttrObjID) {
		return ubus.StatusInvalidArgument
	}
	switch m.ObjID {
	case 1:
		return b.event(c, m)
	case 2:
		return ubus.StatusInvalidCommand
	case 3:
		return b.monitor(c, m)
	}
	o := b.objects[m.ObjID]
	switch {
	case o == nil:
		return ubus.StatusNotFound
	case !c.may(o.path):
		return ubus.StatusPermissionDenied
	}
	forward(c, o, m, false)
	return no
}

// forward sends a call, or a notification, to the owner of an object.
func forward(c *client, o *object, m *frame.Message, noReply bool) {
	w := new(frame.Writer).Begin(frame.Invoke, m.Seq, c.id)
	if noReply {
		w.Flag(frame.AttrNoReply, true)
	}
	w.Uint32(frame.AttrObjID, o.id).Text(frame.AttrMethod, m.Method).Text(frame.AttrUser, c.user).
		Text(frame.AttrGroup, c.group)
	if m.Has(frame.AttrData) {
		w.Blob(frame.AttrData, m.Data)
	}
	o.client.send(w)
}

func (b *Broker) notify(c *client, m *frame.Message) ubus.Status {
	if !m.Has(frame.AttrMethod) || !m.Has(frame.AttrObjID) {
		return ubus.StatusInvalidArgument
	}
	if m.ObjID <= 3 && m.ObjID > 0 {
		return ubus.StatusPermissionDenied
	}
	o := b.objects[m.ObjID]
	switch {
	case o == nil:
		return ubus.StatusNotFound
	case o.client != c:
		return ubus.StatusPermissionDenied
	}
	if !m.NoReply {
		list := new(frame.Writer).Begin(0, 0, 0) // for its attributes
		for _, s := range o.subscribers {
			list.Uint32(0, s.id)
		}
		subscribers, _ := list.Bytes()
		c.send(new(frame.Writer).Begin(frame.Status, m.Seq, m.Peer).Uint32(frame.AttrObjID, o.id).
			Blob(frame.AttrSubscribers, subscribers[frame.ReadLen:]).Uint32(frame.AttrStatus, 0))
	}
	for _, s := range o.subscribers {
		forward(c, s, m, m.NoReply)
	}
	return no
}

// respond passes an answer on to whom it names, whatever the question was.
func (b *Broker) respond(c *client, raw []byte, m *frame.Message) {
	if !m.Has(frame.AttrObjID) || m.Type == frame.Status && !m.Has(frame.AttrStatus) ||
		m.Type == frame.Data && !m.Has(frame.AttrData) {
		return
	}
	o, to := b.objects[m.ObjID], b.clients[m.Peer]
	if o != nil && o.client == c && to != nil {
		to.sendRaw(withPeer(raw, m.Type, m.ObjID))
	}
}

func (b *Broker) add(c *client, m *frame.Message) ubus.Status {
	if m.Has(frame.AttrObjPath) && (!c.may(m.ObjPath) || b.paths[m.ObjPath] != nil || !c.may("x") && m.ObjPath == "") {
		return ubus.StatusInvalidArgument
	}
	o := &object{client: c, id: newID(b.objects), path: m.ObjPath, named: m.Has(frame.AttrObjPath)}
	switch {
	case m.Has(frame.AttrObjType):
		o.kind = b.types[m.ObjType]
	case m.Has(frame.AttrSignature):
		if _, err := ubus.Decode(m.Signature); err == nil {
			o.kind = &objectType{id: newID(b.types), signature: m.Signature}
			b.types[o.kind.id] = o.kind
		}
	}
	if o.kind != nil {
		o.kind.users++
	}
	b.objects[o.id] = o
	c.objects = append([]*object{o}, c.objects...)
	if o.named {
		b.paths[o.path] = o
		b.tellObject("ubus.object.add", o)
	}
	w := new(frame.Writer).Begin(frame.Data, m.Seq, m.Peer).Uint32(frame.AttrObjID, o.id)
	if m.Has(frame.AttrSignature) && o.kind != nil {
		w.Uint32(frame.AttrObjType, o.kind.id)
	}
	c.send(w)
	return ubus.StatusOK
}

func (b *Broker) remove(c *client, m *frame.Message) ubus.Status {
	o := b.objects[m.ObjID]
	switch {
	case !m.Has(frame.AttrObjID):
		return ubus.StatusInvalidArgument
	case m.ObjID > 0 && m.ObjID <= 3:
		return ubus.StatusPermissionDenied
	case o == nil:
		return ubus.StatusNotFound
	case o.client != c:
		return ubus.StatusPermissionDenied
	}
	w := new(frame.Writer).Begin(frame.Data, m.Seq, m.Peer).Uint32(frame.AttrObjID, o.id)
	if o.kind != nil && o.kind.users == 1 {
		w.Uint32(frame.AttrObjType, o.kind.id)
	}
	c.send(w)
	b.free(o)
	return ubus.StatusOK
}

func (b *Broker) subscribe(c *client, m *frame.Message) ubus.Status {
	own, target := b.objects[m.ObjID], b.objects[m.Target]
	switch {
	case !m.Has(frame.AttrObjID) || !m.Has(frame.AttrTarget):
		return ubus.StatusInvalidArgument
	case own == nil:
		return ubus.StatusNotFound
	case own.client != c:
		return ubus.StatusInvalidArgument
	case target == nil:
		return ubus.StatusNotFound
	case target.client == c:
		return ubus.StatusInvalidArgument
	case !c.may(target.path), !target.named && target.client.user != c.user && target.client.group != c.group:
		return ubus.StatusNotFound
	}
	target.subscribers = append([]*object{own}, target.subscribers...)
	own.targets = append([]*object{target}, own.targets...)
	if len(target.subscribers) == 1 {
		target.tellActive()
	}
	return ubus.StatusOK
}

func (b *Broker) unsubscribe(c *client, m *frame.Message) ubus.Status {
	own := b.objects[m.ObjID]
	switch {
	case !m.Has(frame.AttrObjID) || !m.Has(frame.AttrTarget):
		return ubus.StatusInvalidArgument
	case own == nil:
		return ubus.StatusNotFound
	case own.client != c:
		return ubus.StatusInvalidArgument
	}
	for _, t := range own.targets {
		if t.id == m.Target {
			own.leave(t)
			return ubus.StatusOK
		}
	}
	return ubus.StatusNotFound
}
