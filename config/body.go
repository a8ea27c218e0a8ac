package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A block is one block of the configuration: of one file, or of several, merged.
type block struct {
	schema      *BlockSchema
	labels      []string
	labelRanges []hcl.Range
	defRange    hcl.Range
	bodies      []hcl.Body // earlier files first
}

// label returns the first label.
func (b *block) label() string { return b.labels[0] }

// A content is what stands in a block.
type content struct {
	// attrs holds the attributes by name, those of earlier files first. The last one counts, unless the schema says that they are merged.
	attrs map[string][]*hcl.Attribute
	// blocks holds the nested blocks by type, merged, in the order of their first declaration.
	blocks map[string][]*block
	index  map[string]*block // by type, labels and, if blocks of the same labels are numbered, number
}

// blockKey identifies a block among those beside it.
func blockKey(typeName string, labels []string) string {
	return typeName + "\x00" + strings.Join(labels, "\x00")
}

// content reads all that stands in b and reports what doesn't belong there.
func (l *loader) content(b *block) content {
	c := content{attrs: map[string][]*hcl.Attribute{}, blocks: map[string][]*block{}, index: map[string]*block{}}
	schema := b.schema.hcl()
	for i, body := range b.bodies {
		var attrs hcl.Attributes
		var blocks hcl.Blocks
		if b.schema.FreeAttrs {
			var diags hcl.Diagnostics
			attrs, diags = body.JustAttributes()
			l.diags.add(diags...)
		} else {
			bc, diags := body.Content(schema)
			l.diags.add(diags...)
			attrs, blocks = bc.Attributes, bc.Blocks
		}
		c.replaceAlternatives(b.schema, attrs, blocks)
		l.addAttrs(&c, b.schema, attrs)
		l.addBlocks(&c, b.schema, blocks, i > 0)
	}
	l.checkAlternatives(b, c)
	return c
}

// attributes reads the attributes of b alone, quietly: nothing that nested dynamic blocks need is evaluated, and content reports the errors.
func (l *loader) attributes(b *block) map[string][]*hcl.Attribute {
	c := content{attrs: map[string][]*hcl.Attribute{}}
	for _, body := range b.bodies {
		if bc, _, _ := body.PartialContent(b.schema.hcl()); bc != nil {
			c.replaceAlternatives(b.schema, bc.Attributes, bc.Blocks)
			l.addAttrs(&c, b.schema, bc.Attributes)
		}
	}
	return c.attrs
}

// replaceAlternatives takes out of what earlier files have set that which is excluded by what one more file sets.
func (c *content) replaceAlternatives(schema *BlockSchema, attrs hcl.Attributes, blocks hcl.Blocks) {
	here := func(name string) bool {
		return attrs[name] != nil || slices.ContainsFunc(blocks, func(b *hcl.Block) bool { return b.Type == name })
	}
	for _, group := range schema.alternatives {
		if !slices.ContainsFunc(group, here) {
			continue
		}
		for _, other := range group {
			if !here(other) {
				delete(c.attrs, other)
				delete(c.blocks, other)
				maps.DeleteFunc(c.index, func(key string, _ *block) bool { return strings.HasPrefix(key, blockKey(other, nil)) })
			}
		}
	}
}

// addAttrs adds the attributes of one file.
func (l *loader) addAttrs(c *content, schema *BlockSchema, attrs hcl.Attributes) {
	for name, a := range attrs {
		if isLater(schema.Name, name) {
			l.refuseLater(a.NameRange, fmt.Sprintf("the attribute %q", name))
			continue
		}
		c.attrs[name] = append(c.attrs[name], a)
	}
}

// addBlocks adds the nested blocks of one file.
func (l *loader) addBlocks(c *content, schema *BlockSchema, blocks hcl.Blocks, override bool) {
	here := map[string]hcl.Range{} // what this file has declared
	numbers := map[string]int{}    // how many blocks of the same labels, which are told apart by their number
	for _, hb := range blocks {
		if isLater(schema.Name, hb.Type) {
			l.refuseLater(hb.DefRange, fmt.Sprintf("the block %q", hb.Type))
			continue
		}
		s := schema.block(hb.Type)
		if s == nil {
			continue
		}
		key := blockKey(hb.Type, hb.Labels)
		if s.Numbered {
			numbers[key]++
			key += fmt.Sprintf("\x00%d", numbers[key])
		}
		first, again := here[key]
		here[key] = hb.DefRange
		switch {
		case s.Repeated && (again || !override || s.FreeAttrs):
			c.add(s, key, hb)
		case s.Repeated:
			c.blocks[s.Name] = nil
			c.add(s, key, hb)
		case again:
			l.diags.errorAt(hb.DefRange, "Duplicate block", fmt.Sprintf("%s stands at %s already. Give this one another name, or make one block of both.", blockTitle(hb), place(first)))
		default:
			c.merge(s, key, hb)
		}
	}
}

// add adds a block. The key is what those of later files find it by.
func (c *content) add(s *BlockSchema, key string, hb *hcl.Block) {
	b := &block{schema: s, labels: hb.Labels, labelRanges: hb.LabelRanges, defRange: hb.DefRange, bodies: []hcl.Body{hb.Body}}
	c.blocks[s.Name] = append(c.blocks[s.Name], b)
	c.index[key] = b
}

// merge adds a block, or its body to the block of the same key that an earlier file declared.
func (c *content) merge(s *BlockSchema, key string, hb *hcl.Block) {
	if b := c.index[key]; b != nil {
		b.bodies = append(b.bodies, hb.Body)
		return
	}
	c.add(s, key, hb)
}

// checkAlternatives reports attributes and blocks that exclude each other.
func (l *loader) checkAlternatives(b *block, c content) {
	for _, group := range b.schema.alternatives {
		var set []string
		var places []hcl.Range
		for _, name := range group {
			switch {
			case len(c.attrs[name]) > 0:
				set, places = append(set, name), append(places, c.attrs[name][0].NameRange)
			case len(c.blocks[name]) > 0:
				set, places = append(set, name), append(places, c.blocks[name][0].defRange)
			}
		}
		if len(set) > 1 {
			l.diags.errorAt(places[1], "Attributes exclude each other", fmt.Sprintf("Only one of %s may be set here. Remove the others.", listed(set)))
		}
	}
}

func (l *loader) refuseLater(rng hcl.Range, what string) {
	l.diags.errorAt(rng, "Not supported yet", fmt.Sprintf("This version of sekexe can't carry out %s; a later one will. Remove it, or use a newer sekexe.", what))
}

// blockTitle returns a block's head for a message: `mount "/lab"`.
func blockTitle(hb *hcl.Block) string {
	title := hb.Type
	for _, label := range hb.Labels {
		title += fmt.Sprintf(" %q", label)
	}
	return title
}

// place returns where a range begins, for a message.
func place(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }
