//! Attempts judged one by one: each row of the verdict table, each precondition at its edge.
