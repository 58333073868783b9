package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/chorusd/chorusd/harmonic"
)

// geometryAppender writes a GEOMETRY, which is the same in the log and in a
// SELECT: the id of its reference system in four bytes, then WKB. The order of
// the axes is the stored one, in GeoJSON as ST_AsGeoJSON gives it.
func geometryAppender(cast Cast) appender {
	switch cast {
	case CastGeoJSON:
		return func(dst, v []byte) ([]byte, error) {
			g, err := newWKB(v)
			if err == nil {
				dst, err = g.appendGeoJSON(dst, 0)
			}
			return dst, g.ended(err)
		}
	case CastWKT:
		return quoted(func(dst, v []byte) ([]byte, error) {
			g, err := newWKB(v)
			if err == nil {
				dst, err = g.appendWKT(dst, 0)
			}
			return dst, g.ended(err)
		})
	}
	return bytesAppender(cast)
}

// The types of WKB, which are also the places in wkbTypes.
const (
	wkbPoint = 1 + iota
	wkbLineString
	wkbPolygon
	wkbMultiPoint
	wkbMultiLineString
	wkbMultiPolygon
	wkbCollection
)

// wkbTypes are the types' names in GeoJSON and in WKT.
var wkbTypes = [...]struct{ json, text string }{
	wkbPoint:           {"Point", "POINT"},
	wkbLineString:      {"LineString", "LINESTRING"},
	wkbPolygon:         {"Polygon", "POLYGON"},
	wkbMultiPoint:      {"MultiPoint", "MULTIPOINT"},
	wkbMultiLineString: {"MultiLineString", "MULTILINESTRING"},
	wkbMultiPolygon:    {"MultiPolygon", "MULTIPOLYGON"},
	wkbCollection:      {"GeometryCollection", "GEOMETRYCOLLECTION"},
}

var errGeometry = errors.New("malformed geometry")

// wkb reads well-known binary: each geometry has a byte for the order of its
// bytes and a type of four; parts of a multi-geometry are geometries of their own.
type wkb struct {
	rest  []byte
	order binary.ByteOrder
}

func newWKB(v []byte) (*wkb, error) {
	const srid = 4
	if len(v) < srid {
		return &wkb{}, errGeometry
	}
	return &wkb{rest: v[srid:]}, nil
}

// ended checks that all was read.
func (g *wkb) ended(err error) error {
	if err == nil && len(g.rest) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errGeometry, len(g.rest))
	}
	return err
}

func (g *wkb) head() (kind int, err error) {
	if len(g.rest) < 1 {
		return 0, errGeometry
	}
	switch g.rest[0] {
	case 0:
		g.order = binary.BigEndian
	case 1:
		g.order = binary.LittleEndian
	default:
		return 0, errGeometry
	}
	g.rest = g.rest[1:]
	if kind, err = g.number(); err != nil {
		return 0, err
	}
	if kind < wkbPoint || kind > wkbCollection {
		return 0, fmt.Errorf("%w: type %d", errGeometry, kind)
	}
	return kind, nil
}

// part reads the head of a part, which has a type of its own.
func (g *wkb) part(want int) error {
	kind, err := g.head()
	if err == nil && kind != want {
		err = fmt.Errorf("%w: type %d within a multi-geometry", errGeometry, kind)
	}
	return err
}

func (g *wkb) number() (int, error) {
	if len(g.rest) < 4 {
		return 0, errGeometry
	}
	n := g.order.Uint32(g.rest)
	g.rest = g.rest[4:]
	return int(n), nil
}

// style is how coordinates are written.
type style struct {
	open, shut, between string // around and between the numbers of a point
	begin, end          byte   // around lists
}

var (
	jsonStyle = style{"[", "]", ",", '[', ']'}
	textStyle = style{"", "", " ", '(', ')'}
)

func (g *wkb) appendPoint(dst []byte, s *style) ([]byte, error) {
	const size = 8
	dst = append(dst, s.open...)
	for i := range 2 {
		if len(g.rest) < size {
			return dst, errGeometry
		}
		f := math.Float64frombits(g.order.Uint64(g.rest))
		g.rest = g.rest[size:]
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, fmt.Errorf("%w: a coordinate of %g", errGeometry, f)
		}
		if i > 0 {
			dst = append(dst, s.between...)
		}
		dst = appendFloat(dst, f, 64)
	}
	return append(dst, s.shut...), nil
}

// appendList writes what a count says, each by its own writer.
func (g *wkb) appendList(dst []byte, s *style, each func(dst []byte) ([]byte, error)) ([]byte, error) {
	n, err := g.number()
	if err != nil {
		return dst, err
	}
	dst = append(dst, s.begin)
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = each(dst); err != nil {
			return dst, err
		}
	}
	return append(dst, s.end), nil
}

// appendCoordinates writes the coordinates of any type but a collection.
func (g *wkb) appendCoordinates(dst []byte, kind int, s *style) ([]byte, error) {
	point := func(dst []byte) ([]byte, error) { return g.appendPoint(dst, s) }
	line := func(dst []byte) ([]byte, error) { return g.appendList(dst, s, point) }
	polygon := func(dst []byte) ([]byte, error) { return g.appendList(dst, s, line) }
	parts := func(of int, each func(dst []byte) ([]byte, error)) ([]byte, error) {
		return g.appendList(dst, s, func(dst []byte) ([]byte, error) {
			if err := g.part(of); err != nil {
				return dst, err
			}
			return each(dst)
		})
	}
	switch kind {
	case wkbPoint:
		return point(dst)
	case wkbLineString:
		return line(dst)
	case wkbPolygon:
		return polygon(dst)
	case wkbMultiPoint:
		return parts(wkbPoint, func(dst []byte) ([]byte, error) {
			if s == &jsonStyle {
				return point(dst)
			}
			dst, err := point(append(dst, '('))
			return append(dst, ')'), err
		})
	case wkbMultiLineString:
		return parts(wkbLineString, line)
	default:
		return parts(wkbPolygon, polygon)
	}
}

// geometryMaxDepth bounds collections of collections.
const geometryMaxDepth = 100

func (g *wkb) appendGeoJSON(dst []byte, depth int) ([]byte, error) {
	kind, err := g.head()
	if err != nil {
		return dst, err
	}
	dst = harmonic.AppendString(append(dst, `{"type":`...), wkbTypes[kind].json)
	if kind != wkbCollection {
		dst, err = g.appendCoordinates(append(dst, `,"coordinates":`...), kind, &jsonStyle)
		return append(dst, '}'), err
	}
	if depth == geometryMaxDepth {
		return dst, fmt.Errorf("%w: nested too deep", errGeometry)
	}
	dst, err = g.appendList(append(dst, `,"geometries":`...), &jsonStyle, func(dst []byte) ([]byte, error) {
		return g.appendGeoJSON(dst, depth+1)
	})
	return append(dst, '}'), err
}

func (g *wkb) appendWKT(dst []byte, depth int) ([]byte, error) {
	kind, err := g.head()
	if err != nil {
		return dst, err
	}
	dst = append(dst, wkbTypes[kind].text...)
	switch {
	case kind == wkbPoint:
		dst, err = g.appendPoint(append(dst, '('), &textStyle)
		return append(dst, ')'), err
	case kind != wkbCollection:
		return g.appendCoordinates(dst, kind, &textStyle)
	case depth == geometryMaxDepth:
		return dst, fmt.Errorf("%w: nested too deep", errGeometry)
	}
	start := len(dst)
	dst, err = g.appendList(dst, &textStyle, func(dst []byte) ([]byte, error) { return g.appendWKT(dst, depth+1) })
	if string(dst[start:]) == "()" {
		dst = append(dst[:start], " EMPTY"...)
	}
	return dst, err
}
