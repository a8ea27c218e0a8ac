//go:build linux

package kernelnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// privateTable is the name of the table in a namespace of the run's own.
const privateTable = "sekexe"

// A firewall writes the rules of one table.
type firewall struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error // of making a set
}

// installFirewall makes a table with the rules of the segments, all at once.
func installFirewall(table string, segments []*builder) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netfilter socket: %w", err)
	}
	f := &firewall{conn: conn, table: conn.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})}
	f.guard(segments)
	f.forward(segments)
	f.masquerade(segments)
	if err := errors.Join(f.err, conn.Flush()); err != nil {
		err = fmt.Errorf("make the nftables table %s: %w", table, err)
		if errors.Is(err, unix.ENOENT) {
			return withHint(err, `the host's kernel lacks a part of nftables: have root run "modprobe -a nf_tables nft_fib_inet nft_ct nft_masq"`)
		}
		return err
	}
	return nil
}

// removeTable removes a table, if it is there.
func removeTable(name string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netfilter socket: %w", err)
	}
	conn.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the nftables table %s: %w", name, err)
	}
	return nil
}

// members are the links behind which a segment's guests are.
func (b *builder) members() []int {
	if b.Kind == Tun {
		return b.ports
	}
	return []int{b.bridge}
}

// guarded says whether a segment's frames go up to the kernel's IP, so that rules have something to say of them.
func (b *builder) guarded() bool {
	return len(b.members()) > 0 && (b.Kind == Tun || b.kernelGateway())
}

// guard drops what a guest sends with somebody else's address, by a look at the routes, and what is for DHCP servers: those have heard it
// by a packet socket, and the kernel would answer that nobody listens.
func (f *firewall) guard(segments []*builder) {
	routed := f.chain("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	// A bridge's frames are looked at when they have come up from it: with br_netfilter, the hook before would drop them on the bridge.
	bridged := f.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	for _, s := range segments {
		if !s.guarded() {
			continue
		}
		c := bridged
		if s.Kind == Tun {
			c = routed
			f.rule(c, f.links(expr.MetaKeyIIF, s.members(), false), drop,
				&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)})
		}
		for _, port := range []uint16{67, 547} {
			f.rule(c, f.links(expr.MetaKeyIIF, s.members(), false), drop, toPort(port)...)
		}
	}
}

// toPort matches what is for a UDP port.
func toPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// forward says what the kernel routes from and to a segment. In a namespace of the segment's own all else is the gateway, so that only
// isolation counts.
func (f *firewall) forward(segments []*builder) {
	c := f.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	var guarded []*builder
	for _, s := range segments {
		if s.guarded() {
			guarded = append(guarded, s)
		}
	}
	in := func(s *builder) []expr.Any { return f.links(expr.MetaKeyIIF, s.members(), false) }
	out := func(s *builder) []expr.Any { return f.links(expr.MetaKeyOIF, s.members(), false) }
	for _, s := range guarded {
		v := accept
		if s.Isolated {
			v = drop
		}
		f.rule(c, append(in(s), out(s)...), v)
	}
	for _, s := range guarded { // before what may go out: another segment of ours is not the world
		if !s.host {
			continue
		}
		if s.NAT {
			f.rule(c, out(s), accept, answers()...)
		}
		f.rule(c, out(s), drop)
	}
	for _, s := range guarded {
		if !s.host {
			continue
		}
		for _, p := range []netip.Prefix{s.Addr, s.Addr6} {
			if s.NAT && p.IsValid() {
				f.rule(c, in(s), accept, append(inside(p, true, expr.CmpOpEq), inside(p, false, expr.CmpOpNeq)...)...)
			}
		}
		f.rule(c, in(s), drop)
	}
}

// masquerade has what a segment with NAT sends elsewhere come from the host.
func (f *firewall) masquerade(segments []*builder) {
	c := f.chain("masquerade", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, s := range segments {
		if !s.NAT || !s.guarded() {
			continue
		}
		for _, p := range []netip.Prefix{s.Addr, s.Addr6} {
			if p.IsValid() {
				f.rule(c, f.links(expr.MetaKeyOIF, s.members(), true), &expr.Masq{}, inside(p, true, expr.CmpOpEq)...)
			}
		}
	}
}

var (
	accept = &expr.Verdict{Kind: expr.VerdictAccept}
	drop   = &expr.Verdict{Kind: expr.VerdictDrop}
)

func (f *firewall) chain(name string, t nftables.ChainType, h *nftables.ChainHook, p *nftables.ChainPriority) *nftables.Chain {
	return f.conn.AddChain(&nftables.Chain{Name: name, Table: f.table, Type: t, Hooknum: h, Priority: p})
}

// rule adds a rule: what has to match, and what to do then.
func (f *firewall) rule(c *nftables.Chain, match []expr.Any, do expr.Any, more ...expr.Any) {
	exprs := append(append(append([]expr.Any{}, match...), more...), do)
	f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: c, Exprs: exprs})
}

// links matches what comes from, or goes to, one of the links; or none of them. It is for one rule, and has to be used: the kernel refuses a set
// without a name that no rule has.
func (f *firewall) links(key expr.MetaKey, indexes []int, none bool) []expr.Any {
	set := &nftables.Set{Table: f.table, Anonymous: true, Constant: true, KeyType: nftables.TypeIFIndex}
	var elements []nftables.SetElement
	for _, i := range indexes {
		elements = append(elements, nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(uint32(i))})
	}
	if err := f.conn.AddSet(set, elements); err != nil {
		f.err = errors.Join(f.err, err)
	}
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetID: set.ID, SetName: set.Name, Invert: none},
	}
}

// inside matches what has its source, or else its destination, in the prefix; or outside of it, but of the same family.
func inside(p netip.Prefix, source bool, op expr.CmpOp) []expr.Any {
	p = p.Masked()
	family, offset := byte(unix.NFPROTO_IPV4), uint32(12)
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 8
	}
	size := uint32(p.Addr().BitLen() / 8)
	if !source {
		offset += size
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: ipNet(p).Mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// answers matches what belongs to a connection that was made the other way.
func answers() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// refusesForwarding says whether a table of somebody else's drops what it doesn't know of what is forwarded, as Docker's does.
func refusesForwarding() bool {
	conn, err := nftables.New()
	if err != nil {
		return false
	}
	chains, err := conn.ListChains()
	if err != nil {
		return false
	}
	for _, c := range chains {
		if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop &&
			c.Table.Family != nftables.TableFamilyBridge {
			return true
		}
	}
	return false
}
