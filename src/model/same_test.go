package model

import (
	"encoding"
	"net/netip"
	"reflect"
	"testing"
)

// JSON shows every field of what is compared, so that Same misses none.
func TestSameMissesNothing(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		if seen[typ] || typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Array, reflect.Pointer:
			look(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				if !f.IsExported() || f.Tag.Get("json") == "-" {
					t.Errorf("JSON hides %s.%s", typ, f.Name)
				}
				look(f.Type)
			}
		case reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
			t.Errorf("%s is a %s", typ, typ.Kind())
		}
	}
	look(reflect.TypeFor[Report]())
	look(reflect.TypeFor[GatewayState]())

	a := Report{HostName: "box", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	b := a
	if !Same(a, b) || !Same(a, &b) {
		t.Error("equal reports differ")
	}
	b.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	if Same(a, b) {
		t.Error("other name servers are the same")
	}
	if Same(func() {}, func() {}) {
		t.Error("functions are the same")
	}
}
