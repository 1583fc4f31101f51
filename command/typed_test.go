package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type trip struct {
	To     string        `json:"to" help:"a town"`
	Days   int           `json:"days,omitempty"`
	Class  string        `json:"class" options:"first,second"`
	Return *bool         `json:"return"`
	Price  float64       `json:"price,omitempty"`
	Stops  []string      `json:"stops,omitempty"`
	Notes  string        `json:"notes,omitempty" kind:"text"`
	Wait   time.Duration `json:"wait,omitempty"`
	Host   *netip.Addr   `json:"host"`
	Ticket struct {
		Seat int `json:"seat"`
	} `json:"ticket,omitempty"`
}

// typedTrip shows its input as JSON.
func typedTrip() Command {
	return Typed(Spec{Name: "trip", Description: "plans a trip"}, func(_ context.Context, _ *Env, in trip) (*Result, error) {
		data, err := json.Marshal(in)
		return &Result{Text: string(data)}, err
	})
}

func TestTypedSlots(t *testing.T) {
	reg := NewRegistry()
	require.NoError(t, reg.Register(typedTrip()))
	var got []string
	for _, s := range typedTrip().Spec().Slots {
		got = append(got, fmt.Sprint(s.Name, s.Kind, s.Optional, s.Options))
	}
	assert.Equal(t, []string{
		fmt.Sprint("to", SlotLine, false, []string(nil)), fmt.Sprint("days", SlotNumber, true, []string(nil)),
		fmt.Sprint("class", SlotEnum, false, []string{"first", "second"}), fmt.Sprint("return", SlotYesNo, true, []string(nil)),
		fmt.Sprint("price", SlotNumber, true, []string(nil)), fmt.Sprint("stops", SlotObject, true, []string(nil)),
		fmt.Sprint("notes", SlotText, true, []string(nil)), fmt.Sprint("wait", SlotLine, true, []string(nil)),
		fmt.Sprint("host", SlotLine, true, []string(nil)), fmt.Sprint("ticket", SlotObject, true, []string(nil)),
	}, got)
	assert.Contains(t, typedTrip().Spec().Slots[9].Schema, `"seat"`)
}

func TestTypedDecodesLeniently(t *testing.T) {
	const rest = `,"return":null,"host":null,"ticket":{"seat":0}}`
	for _, tt := range []struct{ name, content, want string }{
		{"as it should be", `[{"to":"Rome","class":"first"}]`, `{"to":"Rome","class":"first"` + rest},
		{"numbers in strings, names in other case", `[{"To":"Rome","CLASS":"First","days":"3"}]`, `{"to":"Rome","days":3,"class":"first"` + rest},
		{"fields in entries of their own", `[{"to":"Rome"},{"class":"second"}]`, `{"to":"Rome","class":"second"` + rest},
		{"one run for each entry", `[{"to":"A","class":"first"},{"to":"B","class":"second"}]`, `{"to":"A","class":"first"` + rest + "\n" + `{"to":"B","class":"second"` + rest},
		{"all of it", `[{"to":7,"days":2.0,"class":"second","return":"yes","price":"1.5","stops":"Pisa","notes":["a","b"],"wait":"90s","host":"127.0.0.1","ticket":"{'seat': 4}"}]`,
			`{"to":"7","days":2,"class":"second","return":true,"price":1.5,"stops":["Pisa"],"notes":"a\nb","wait":90000000000,"host":"127.0.0.1","ticket":{"seat":4}}`},
		{"missing", `[{"class":"first"}]`, "Give to: a town."},
		{"nothing at all", `[]`, "Give to: a town."},
		{"no such option", `[{"to":"Rome","class":"third"}]`, "class must be one of first, second, not third."},
		{"no number", `[{"to":"Rome","class":"first","days":"many"}]`, "days must be a whole number, not many."},
		{"no whole number", `[{"to":"Rome","class":"first","days":1.5}]`, "days must be a whole number, not 1.5."},
		{"too large a number", `[{"to":"Rome","class":"first","price":1e999}]`, "price must be a number, not 1e999."},
		{"no yes", `[{"to":"Rome","class":"first","return":"maybe"}]`, "return must be yes or no, not maybe."},
		{"no time", `[{"to":"Rome","class":"first","wait":"long"}]`, "wait must be a time such as 5m or 30s, not long."},
		{"no address", `[{"to":"Rome","class":"first","host":"here"}]`, "host must be of the form that is asked for, not here."},
		{"no ticket", `[{"to":"Rome","class":"first","ticket":{"seat":"x"}}]`, `ticket must be of the form that is asked for, not {"seat":"x"}.`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var call Call
			dec := json.NewDecoder(strings.NewReader(`{"command":"trip","content":` + tt.content + `}`))
			dec.UseNumber()
			require.NoError(t, dec.Decode(&call))
			r, err := typedTrip().Run(context.Background(), &Env{}, &call)
			require.NoError(t, err)
			assert.Equal(t, tt.want, r.Text)
			assert.Equal(t, tt.want[0] != '{', r.Failed)
		})
	}
}

func TestTypedRefusesTypes(t *testing.T) {
	nothing := func(context.Context, *Env, string) (*Result, error) { return nil, nil }
	assert.ErrorContains(t, NewRegistry().Register(Typed(Spec{Name: "x"}, nothing)), "no struct")
	type badKind struct {
		A string `kind:"poem"`
	}
	poem := func(context.Context, *Env, badKind) (*Result, error) { return nil, nil }
	assert.ErrorContains(t, NewRegistry().Register(Typed(Spec{Name: "x"}, poem)), `field A: unknown kind "poem"`)
	type channel struct{ A chan int }
	strange := func(context.Context, *Env, channel) (*Result, error) { return nil, nil }
	assert.ErrorContains(t, NewRegistry().Register(Typed(Spec{Name: "x"}, strange)), "field A")
}
