"""How values, tables, times and progress are shown to a person."""
