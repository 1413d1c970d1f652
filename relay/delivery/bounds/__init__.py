"""What the box holds, and what it still takes in: slowed down from 80 % of a limit, refused from 95 %."""
